"""The error family: every mistake a user can make, said in one line with its remedy."""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

Part = str | None  #: A part of a message, or that it has none
_LONGEST = 1000  # characters of a part of a message


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return the remedy for a mistyped name: known ones that begin with it, in natural order, then similar ones.

    Capitals and the dashes before a flag make no difference.

    Example:
        >>> did_you_mean("lite", ["lite10", "lite4", "lite0", "kite"])
        'did you mean lite0 or lite4 or lite10?'
    """
    names, name = {other.lower().lstrip("-"): other for other in known}, name.lower().lstrip("-")
    begun = [other for other in names if len(name) > 2 and other.startswith(name)]
    close = difflib.get_close_matches(name, names, n=3)
    closest = [names[other] for other in dict.fromkeys([*sorted(begun, key=_natural), *close])][:3]
    return f"did you mean {' or '.join(closest)}?" if closest else None


def names_beside(path: Path) -> str | None:
    """Return the remedy for a path where nothing is: similar names beside it."""
    return did_you_mean(path.name, [entry.name for entry in path.parent.glob("*")])


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts the numbers in names by their size."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return a text that a terminal only shows: what would move its cursor, colour it or turn its direction is named.

    Names of files, classes and layers may hold anything. With ``lines`` ends of lines and tabs are kept.

    Example:
        >>> printable("cat\x1b[31m\u202e"), printable("a\tb"), printable("one\ntwo", lines=True)
        ('cat\\u001b[31m\\u202e', 'a\\tb', 'one\ntwo')
    """
    if text.isprintable():
        return text
    return re.sub(
        r"[^ -~]", lambda one: one[0] if one[0].isprintable() or (lines and one[0] in "\n\t") else _named(one[0]), text
    )


def file_name_text(name: str) -> str:
    r"""Return the name of a file or folder as text that files of UTF-8 can hold; of other bytes the numbers are shown.

    Names on a Linux disk may hold any bytes, which Python keeps as surrogates; JSON may hold others. Such text is for
    people and records: it does not open the file.

    Example:
        >>> file_name_text("caf\udce9.jpg"), file_name_text("café.jpg"), file_name_text("\ud800")
        ('caf\\xe9.jpg', 'café.jpg', '\\ud800')
    """
    return _SURROGATES.sub(lambda one: _shown(ord(one[0])), name)


_SURROGATES = re.compile("[\ud800-\udfff]")


def _shown(code: int) -> str:
    """Return a surrogate as text: the byte that it stands for, else its own number."""
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _named(character: str) -> str:
    # Spaces of other kinds count as not printable, and do no harm.
    if unicodedata.category(character) == "Zs":
        return character
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def _shortened(part: Part) -> Part:
    return part if part is None or len(part) <= _LONGEST else f"{part[:_LONGEST]} ..."


class RefconvError(ValueError):
    """A mistake in what was given to refconv, not a bug in refconv.

    The message is one line: ``where: what; expected ..., found ...; remedy``. The command line prints it to
    stderr and exits with status 2.

    Args:
        what: what is wrong, in plain words.
        where: the layer, file, key or flag concerned.
        expected: what would have been accepted.
        found: what was there instead.
        remedy: what the user can do about it.

    Example:
        >>> print(RefconvError("unknown order", where="order", expected="across or contiguous", found="'foo'"))
        order: unknown order; expected across or contiguous, found 'foo'
    """

    def __init__(
        self, what: str, *, where: Part = None, expected: Part = None, found: Part = None, remedy: Part = None
    ) -> None:
        where, expected, found, remedy = map(_shortened, (where, expected, found, remedy))
        self.what, self.where, self.expected, self.found, self.remedy = what, where, expected, found, remedy
        pairs = ("expected", expected), ("found", found)
        contrast = ", ".join(f"{word} {value}" for word, value in pairs if value is not None)
        line = ("" if where is None else f"{where}: ") + "; ".join(filter(None, (what, contrast, remedy)))
        super().__init__(printable(" ".join(line.split())))


def said_by(error: BaseException) -> str:
    """Return what an error says; one of the operating system without its number and path, which messages have anyway.

    Example:
        >>> said_by(FileNotFoundError(2, "No such file or directory", "a.toml")), said_by(ValueError("no TOML"))
        ('No such file or directory', 'no TOML')
    """
    return getattr(error, "strerror", None) or str(error)


# How torch and oneDNN say that an allocation failed; oneDNN cannot create a primitive that it has described where there
# is no memory for its code.
_NO_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|bad_alloc|could not create a memory|out_of_memory"
    r"|Cannot allocate memory|cannot allocate|could not create a primitive(?! descriptor)",
    re.IGNORECASE,
)

# How the loader of libraries says that there is no room for one; the file system may also forbid that code be run.
_NO_MAPPING = re.compile(r"failed to map segment from shared object(?!: Operation not permitted)")


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error says that there is no memory left: then nothing is wrong with what was given.

    Whatever says that a model does not take its input lets such errors pass; the command line makes a line of them.

    Example:
        >>> lacks_memory(RuntimeError("could not create a primitive")), lacks_memory(RuntimeError("no such shape"))
        (True, False)
    """
    if isinstance(error, ImportError):
        return _NO_MAPPING.search(str(error)) is not None
    told = isinstance(error, (RuntimeError, OSError)) and _NO_MEMORY.search(str(error))
    return isinstance(error, MemoryError) or bool(told)


@contextlib.contextmanager
def in_one_line(
    kind: type[RefconvError],
    what: str,
    *,
    where: str,
    expected: Part = None,
    remedy: Part = None,
    errors: tuple[type[Exception], ...] = (Exception,),
) -> Iterator[None]:
    """Say in one line whatever another library raises while it reads a file: what that is depends on the damage.

    Only calls of such libraries belong inside, unless ``errors`` names what the block may raise: the rest passes, as
    errors of ours do.

    Raises:
        RefconvError: of the kind that is given.

    Example:
        >>> with in_one_line(DataError, "unreadable sound", where="a.wav"):
        ...     raise KeyError("chunk")
        Traceback (most recent call last):
        ...
        refconv.errors.DataError: a.wav: unreadable sound; found KeyError: 'chunk'
    """
    try:
        yield
    except RefconvError:
        raise
    except errors as error:  # by default all: parsers of other packages raise anything for damaged content
        own = type(error).__name__
        lines = [line.strip() for line in said_by(error).splitlines() if line.strip()]
        # What systems and libraries say about values is a sentence; the message of a KeyError is not.
        told = isinstance(error, (OSError, ValueError)) and not isinstance(error, UnicodeError)
        found = " ".join(lines)[:200] if told and lines else f"{own}: {lines[0][:200]}" if lines else own
        if lacks_memory(error):  # a damaged file may ask for too much
            rest = "" if remedy is None else f"; if there is enough, {remedy}"
            raise kind("out of memory", where=where, found=found, remedy=f"free memory{rest}") from error
        raise kind(what, where=where, expected=expected, found=found, remedy=remedy) from error


class SettingError(RefconvError):
    """A setting (map size, order, start, a selection pattern, ...) that has no meaning here."""


class LayerError(RefconvError):
    """A convolution kernel that cannot be refocused, merged or loaded; the message names it."""


class ModelError(RefconvError):
    """A model that is unknown, wrapped, in the wrong state or of the wrong shape."""


class CheckpointError(RefconvError):
    """A weights file that is missing, damaged, refused, or does not fit the model."""


class TrustError(RefconvError):
    """A file that names code to run, which the user has not named and does not trust."""


class RecordError(RefconvError):
    """A record in a JSON file that is missing, damaged, changed or of another form."""


class RecipeError(RefconvError):
    """An unknown key or an impossible value in a recipe."""


class StudyError(RefconvError):
    """An unknown key or an impossible value in a study, or runs of it that failed."""


class DataError(RefconvError):
    """A data set that is unknown, missing, empty or unreadable."""


class RunError(RefconvError):
    """A run folder that is in use, exists already, or cannot be resumed or written."""


class TrainingError(RefconvError):
    """Training that cannot go on, such as a loss that is not finite."""


class RefconvWarning(UserWarning):
    """What a user should know about what was given, though nothing is wrong; the command line prints it as one line."""
