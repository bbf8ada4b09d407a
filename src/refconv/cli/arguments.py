"""Lists as timm's train.py takes them: ``--mean 0.5 0.5 0.5`` and ``--model-kwargs a=1 b=2``; ``--resume`` alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NUMBERS, ENTRIES, WORDS = "N,N,...", "KEY=VALUE", "WORD,..."  #: What help shows for the values of such flags
AUTO, ALONE = "[auto]", "alone"  #: Of a flag whose value may be left out, and what it is then


def spread(command: Any, arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command with one word for each flag: numbers joined by commas, entries repeated.

    Only words that are numbers, or entries, are taken for such a flag, so that paths after it stay what they are; words
    of any kind where the command takes no arguments but flags.
    """
    kinds = {
        flag: one.metavar
        for one in command.params
        for flag in one.opts
        if one.metavar in {NUMBERS, ENTRIES, WORDS, AUTO}
    }
    bare = all(one.param_type_name == "option" for one in command.params)
    found: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        kind = kinds.get(word)
        found.append(word)
        if kind == AUTO and (not words or words[0].startswith("-")):
            found.append(ALONE)
        if kind in {None, AUTO} or not words:
            continue
        values = [words.pop(0)]
        while words and _belongs(words[0], kind, bare=bare):
            values.append(words.pop(0))
        if kind == ENTRIES:
            found += [part for value in values for part in (word, value)][1:]
        else:
            found.append(",".join(values))
    return found


def _belongs(word: str, kind: str, *, bare: bool) -> bool:
    """Return whether a word is a further value of a flag."""
    if kind == NUMBERS:
        return all(_is_number(part) for part in word.split(","))
    if word.startswith("-"):
        return False
    return "=" in word if kind == ENTRIES else bare


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
