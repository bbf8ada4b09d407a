"""Which output of a model stands for which class of the data: matched by name, in any order and for subsets."""

from __future__ import annotations

import csv
import dataclasses
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torchvision
from timm.data import ImageNetInfo, infer_imagenet_subset

from refconv.errors import DataError, RefconvWarning
from refconv.paths import path_of
from refconv.records import parsed_json

_SYNSET = re.compile(r"n\d{8}(?!\d)")
UNNAMED = "the model's class names are not known; the data's are used, in the same order"
"""What is said where classes are matched by position."""


class ClassMap(dict[str, str]):
    """The class of a model, its name or its number, by the folder; ``places`` says where in the file each stands."""

    def __init__(self, classes: Mapping[str, str], places: Mapping[str, str]) -> None:
        super().__init__(classes)
        self.places = places


@dataclasses.dataclass(frozen=True)
class Matching:
    """The outputs of a model that the classes of the data belong to."""

    found: tuple[str, ...]  # the classes of the data, in the data's order
    outputs: tuple[int, ...]  # the index of each one's output
    names: tuple[str, ...]  # what each of the model's outputs stands for
    by_number: bool = False  # where one side has numbers instead of names

    @property
    def changes_nothing(self) -> bool:
        """Whether the data's classes are the model's, in the same order."""
        return self.found == self.names and self.outputs == tuple(range(len(self.names)))

    def __str__(self) -> str:
        outputs = [self.names[output] if self.by_number else output for output in self.outputs]
        pairs = [f"{name} is {output}" for name, output in zip(self.found, outputs, strict=True)]
        of = f" of {len(self.names)}" if len(pairs) < len(self.names) else ""
        return f"{len(pairs)}{of} classes, matched by {'number' if self.by_number else 'name'}: {listed(pairs)}"


@dataclasses.dataclass(frozen=True)
class Classes:
    """What is known about the classes of a model; ``remedy`` is what a user can do about one that is not matched."""

    names: tuple[str, ...] = ()  # one per output; empty where they are not known
    outputs: int | None = None  # how many the model has; None: as many as the data has classes
    class_map: Mapping[str, str] = dataclasses.field(default_factory=dict)  # see read_class_map
    remedy: str = "give --class-map FILE with a line FOLDER,CLASS for each of them"

    def match(self, found: Sequence[str], *, where: str) -> Matching:
        """Find the output of each class of the data, which messages call ``where``.

        A class is matched by the class map, else by its name, else by the ImageNet synset that its name begins with
        (``n01440764_tench``). Of a model whose names are not known the synsets are timm's, if it has as many outputs as
        a version of ImageNet has classes and every class of the data begins with one; otherwise the classes are taken
        in order, if there are as many as outputs. So they are where one side has numbers instead of names.

        Raises:
            DataError: if a class is not matched.

        Example:
            >>> Classes(("cat", "dog", "frog")).match(["dog", "cat"], where="folder:x").outputs
            (1, 0)
            >>> Classes(outputs=1000).match(["n01440764_tench", "n02123045"], where="folder:x").outputs
            (0, 281)
        """
        wanted = [self.class_map.get(_normal(name), name) for name in found]
        names = self.names
        if not names and is_of_imagenet(wanted, self.outputs):
            names = tuple(ImageNetInfo(infer_imagenet_subset({"num_classes": self.outputs})).label_names())
        if not names and self.outputs is None:
            names = tuple(sorted({*wanted})) if self.class_map else tuple(found)
        index = _index(names)
        count = len(names) or self.outputs or 0
        outputs = [self._output(name, given, index, count) for name, given in zip(found, wanted, strict=True)]
        unknown = [name for name, output in zip(found, outputs, strict=True) if output is None]
        self._check_mapped(unknown, names, count, where)
        if not unknown:
            return Matching(tuple(found), tuple(o for o in outputs if o is not None), names or _numbers(count))
        nameless = not names or _numbers(len(names)) == names or _numbers(len(found)) == tuple(found)
        matched_before = tuple(found) == _numbers(count)
        if nameless and len(found) == count and (matched_before or not self.class_map):
            return Matching(tuple(found), tuple(range(count)), names or tuple(found), by_number=True)
        expected = f"{count} classes, as the model has outputs, whose names are not known"
        if names:
            expected = f"some of its {count} classes {listed(names)}"
        what = f"{len(unknown)} of {len(found)} classes are not among the model's"
        raise DataError(what, where=where, expected=expected, found=listed(unknown), remedy=self.remedy)

    def _check_mapped(self, unknown: Sequence[str], names: Sequence[str], count: int, where: str) -> None:
        """Refuse an entry of the class map that names no class of the model."""
        entry = next((_normal(name) for name in unknown if _normal(name) in self.class_map), None)
        if entry is None:
            return
        given = self.class_map[entry]
        known = f" or one of {listed(names)}" if names and names != _numbers(count) else ""
        what = "no such number of a class" if re.fullmatch(r"-?\d+", given) else "no such class of the model"
        place = getattr(self.class_map, "places", {}).get(entry, where)
        expected = f"a number from 0 to {count - 1}{known}"
        raise DataError(what, where=place, expected=expected, found=f"{entry},{given}")

    def _output(self, name: str, given: str, index: Mapping[str, int], count: int) -> int | None:
        synset = _SYNSET.match(given)
        output = index.get(_normal(given))
        if output is None and synset:
            output = index.get(synset.group())
        if output is None and _normal(name) in self.class_map and given.isdecimal() and int(given) < count:
            output = int(given)
        return output


def is_of_imagenet(found: Sequence[str], outputs: int | None) -> bool:
    """Say whether all classes of the data begin with a synset, and a model has the outputs of a version of ImageNet."""
    return infer_imagenet_subset({"num_classes": outputs}) is not None and all(map(_SYNSET.match, found))


@cache
def library_names(model: str, outputs: int | None) -> tuple[str, ...]:
    """Return in words what the outputs of a pretrained classifier, timm's or ``torchvision:NAME``, stand for.

    None are returned where the library does not say, or the number of outputs is given and differs from the library's.

    Example:
        >>> library_names("resnet18", 1000)[:2]
        ('tench', 'goldfish')
        >>> library_names("resnet18", 10)
        ()
    """
    source, separator, rest = model.partition(":")
    names: Sequence[str] = ()
    if source == "torchvision" and rest in torchvision.models.list_models():
        names = torchvision.models.get_model_weights(rest).DEFAULT.meta.get("categories", ())
    elif not separator and timm.is_model(model):
        cfg = timm.get_pretrained_cfg(model)
        subset = None if cfg is None else infer_imagenet_subset(cfg.to_dict())
        if subset is not None:
            names = [words.partition(",")[0] for words in ImageNetInfo(subset).label_descriptions()]
    return tuple(names) if outputs in {None, len(names)} else ()


def warn_of_doubles(names: Sequence[str]) -> None:
    """Warn of names that several outputs have, as some of ImageNet's do: data are matched with the first of them."""
    counts = Counter(names)
    if double := [name for name, count in counts.items() if count > 1]:
        what, found = "classes of one name: folders are matched with the first", listed(double, 4)
        warnings.warn(str(DataError(what, where="class names", found=found)), RefconvWarning, stacklevel=3)


def read_class_map(path: str | Path) -> ClassMap:
    """Read which class of a model, by its name or its number from 0 on, each folder belongs to, from JSON or CSV."""
    expected = "lines FOLDER,CLASS, or a JSON object of folder and class"
    try:
        text = path_of(path).read_text(encoding="utf-8-sig")
        rows = [*(_json_rows(text) if text.lstrip().startswith("{") else _csv_rows(text))]
    except FileNotFoundError as error:
        raise DataError("no such class map", where=str(path), expected=f"a file with {expected}") from error
    except (OSError, ValueError, csv.Error) as error:
        raise DataError("cannot be read", where=str(path), expected=expected, found=str(error)) from error
    if not rows:
        raise DataError("not a class map", where=str(path), expected=expected, found="nothing")
    for place, row in rows:
        if len(row) != 2 or not all(isinstance(cell, (str, int)) for cell in row):
            found = repr(row[1:] or row[0])
            raise DataError("not a class map", where=f"{path}, {place}", expected=expected, found=found)
    classes = {_normal(str(row[0])): str(row[1]) for _, row in rows}
    return ClassMap(classes, {_normal(str(row[0])): f"{path}, {place}" for place, row in rows})


def _json_rows(text: str) -> Iterator[tuple[str, Sequence[Any]]]:
    for folder, name in parsed_json(text).items():
        yield f"key {folder!r}", (folder, name)


def _csv_rows(text: str) -> Iterator[tuple[str, Sequence[Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            cells = next(csv.reader([line], delimiter="\t" if "\t" in line else ","))
            yield f"line {number}", tuple(cell.strip() for cell in cells)


def _index(names: Sequence[str]) -> dict[str, int]:
    """Return the output by name and by synset; a name counts more, and the first of two equal ones."""
    synsets = ((_SYNSET.match(name), output) for output, name in enumerate(names))
    index = {found.group(): output for found, output in reversed([*synsets]) if found}
    return index | {_normal(name): output for output, name in reversed([*enumerate(names)])}


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)  # macOS takes letters and accents apart


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def listed(names: Sequence[str], most: int = 6) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
