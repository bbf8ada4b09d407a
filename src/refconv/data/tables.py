"""Tables of targets beside a folder of images: a CSV or JSON file that says what each image shows.

A line is an image, by its path from the table's folder, and its targets: a class, one column a label (0 or 1) or value,
or one column of labels' names. Cells are separated by commas, semicolons or tabs, whichever the first line has first. A
column ``split`` says which images are trained on; else there are several tables,
``train.csv`` and ``test.csv``. An empty cell is not known and counts nowhere.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refconv.data.images import FileImages, PathTable, apart
from refconv.data.splits import HELD_OUT, Parts, held_out
from refconv.data.targets import Wanted
from refconv.data.texts import there
from refconv.errors import DataError
from refconv.paths import path_of
from refconv.records import parsed_json

_DELIMITERS = ("\t", ";", ",")  # of cells
_SEPARATORS = ("|", ";", ",")  # of labels' names in one cell; a space where none of them occurs
_SPLIT = "split"
_LARGEST = torch.finfo(torch.float32).max
_UNKNOWN = {"", "nan", "na", "none", "null"}
_QUOTED = re.compile(r'"[^"]*"')
_ONE = "labels"  # what the only target of a JSON entry is called


class _Row(NamedTuple):
    place: str  # file and line, for messages
    path: str
    split: str
    cells: Mapping[str, Any]  # the targets by column


def open_table(path: Path, wanted: Wanted, *, val_split: float, for_training: bool = True) -> Parts[FileImages | None]:
    """Read the images of each split with their targets."""
    rows = list(_rows(path))
    names = {row.split for row in rows}
    trained: str | None = "train"
    if "train" not in names:
        if for_training:
            expected, found = "train among the splits", ", ".join(sorted(names - {""})) or "no column split"
            remedy = "add a column split with train, val and test, or give a folder with train.csv and test.csv"
            raise DataError("no training images", where=str(path), expected=expected, found=found, remedy=remedy)
        trained, rows = None, rows if names & {*HELD_OUT} else [row._replace(split="test") for row in rows]
        names = {row.split for row in rows}
    val, test = held_out(names, where=str(path), val_split=val_split)
    targets, columns = _targets(rows, wanted, where=str(path))
    folder = path if path.is_dir() else path.parent

    def part(split: str | None) -> FileImages | None:
        chosen = [index for index, row in enumerate(rows) if row.split == split]
        if split is None:
            return None
        return FileImages(PathTable([path_of(folder, rows[index].path) for index in chosen]), targets[chosen], columns)

    _check_files(rows, folder, path)
    return apart(Parts(part(trained), part(val), part(test)), lambda images: images.paths, where=str(path))


def _rows(path: Path) -> Iterator[_Row]:
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in {".csv", ".tsv", ".json"})
        by_split = [file for file in found if file.stem in {"train", *HELD_OUT}]
        files = by_split or found
        if not files or (len(files) > 1 and not by_split):
            expected = "train.csv and test.csv, or one table with a column split"
            listing = ", ".join(file.name for file in found) or "no table"
            raise DataError("no table of targets", where=str(path), expected=expected, found=listing)
    else:
        files = [path]
    for file in files:
        split = file.stem if (path.is_dir() and len(files) > 1) or file.stem == "train" else ""
        for place, image, cells in _entries(file):
            if not image:
                raise DataError("no image", where=place, expected="the path of an image first")
            own = str(cells.pop(_SPLIT, "") or split).lower()
            if own and own not in {"train", *HELD_OUT}:
                expected = f"train, {', '.join(HELD_OUT)}"
                raise DataError("no such split", where=place, expected=expected, found=own)
            yield _Row(place, image, own, cells)


def _entries(file: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield where each entry stands, its image and its targets."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        entries = [*(_json(text) if file.suffix.lower() == ".json" else _csv(text, file))]
    except FileNotFoundError as error:
        raise DataError("no such table", where=str(file), remedy="check the path") from error
    except (OSError, ValueError, csv.Error, AttributeError, TypeError) as error:
        expected = "lines IMAGE,TARGETS below a line of names, or a JSON object of image and targets"
        raise DataError("cannot be read", where=str(file), expected=expected, found=str(error)) from error
    if not entries:
        raise DataError("an empty table", where=str(file), expected="an image and its targets in each line")
    for place, image, cells in entries:
        yield f"{file}, {place}", image, cells


def _csv(text: str, file: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    titles = _QUOTED.sub("", text.partition("\n")[0])
    delimiter = "\t" if file.suffix.lower() == ".tsv" else next((c for c in titles if c in _DELIMITERS), ",")
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    head = [name.strip() for name in next(reader, [])]
    twice = [name for name, count in Counter(head).items() if count > 1]
    if len(head) < 2 or twice:
        problem = f"the first line names {twice[0]!r} twice" if twice else "the first line names no target"
        raise ValueError(problem)
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(head):
            raise ValueError(f"line {reader.line_num} has {len(cells)} cells, the first line {len(head)}")
        first, *others = (cell.strip() for cell in cells)
        yield f"line {reader.line_num}", first, dict(zip(head[1:], others, strict=True))


def _json(text: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    content = parsed_json(text)
    listed = [*content.items()] if isinstance(content, dict) else [(None, entry) for entry in content]
    for number, (image, entry) in enumerate(listed, start=1):
        if image is None:  # a list of objects, whose first value is the image
            (_, image), *rest = entry.items()
            cells = dict(rest)
        else:
            cells = dict(entry) if isinstance(entry, dict) else {_ONE: entry}
        widened: dict[str, Any] = {}
        for name, value in cells.items():
            numbers = isinstance(value, list) and value and not any(isinstance(one, str) for one in value)
            widened |= {f"{name}{i}": one for i, one in enumerate(value)} if numbers else {name: value}
        yield f"entry {number}", str(image), widened


def _targets(rows: Sequence[_Row], wanted: Wanted, *, where: str) -> tuple[Tensor, tuple[str, ...]]:
    columns = list(rows[0].cells)
    other = next((row for row in rows if list(row.cells) != columns), None)
    if other is not None:
        expected, found = ", ".join(columns), ", ".join(other.cells) or "none"
        raise DataError("other targets than in the first line", where=other.place, expected=expected, found=found)
    if not columns:
        raise DataError("no column of targets", where=where, expected="one beside the image and the split")
    names = wanted.kind == "classes" or (wanted.kind == "labels" and _are_names(rows, columns[0]))
    if len(columns) == 1 and names:
        texts = [row.cells[columns[0]] for row in rows]
        if wanted.kind == "classes" or wanted.one:
            return _of_classes(rows, texts, wanted, where)
        return _of_sets(texts, wanted, where)
    numbers = torch.tensor([[_number(row, name) for name in columns] for row in rows])
    return wanted.of_columns(numbers, columns, where=where)


def _of_classes(
    rows: Sequence[_Row], texts: Sequence[Any], wanted: Wanted, where: str
) -> tuple[Tensor, tuple[str, ...]]:
    bad = next(
        (row for row, text in zip(rows, texts, strict=True) if isinstance(text, list) or text in {"", None}), None
    )
    if bad is not None:
        raise DataError("no class", where=bad.place, expected="one name")
    names = sorted({str(text) for text in texts})
    numbered = all(name.lstrip("-").isdecimal() for name in names)
    names = sorted(names, key=int) if numbered else names
    index = {name: number for number, name in enumerate(names)}
    return wanted.of_classes(torch.tensor([index[str(text)] for text in texts]), names, where=where)


def _of_sets(texts: Sequence[Any], wanted: Wanted, where: str) -> tuple[Tensor, tuple[str, ...]]:
    """Return labels from lists of names, or from names in one text, none in an empty one."""
    separator = next((one for one in _SEPARATORS if any(one in text for text in texts if isinstance(text, str))), None)
    sets = [
        {str(name).strip() for name in (text if isinstance(text, list) else str(text or "").split(separator))} - {""}
        for text in texts
    ]
    names = sorted(set().union(*sets))
    return wanted.of_columns(torch.tensor([[float(name in own) for name in names] for own in sets]), names, where=where)


def _are_names(rows: Sequence[_Row], column: str) -> bool:
    """Say whether a column holds names and not numbers."""
    return any(_parsed(row.cells[column]) is None for row in rows)


def _parsed(cell: Any) -> float | None:
    if cell is None or (isinstance(cell, str) and cell.lower() in _UNKNOWN):
        return float("nan")
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _number(row: _Row, name: str) -> float:
    value = _parsed(row.cells[name])
    if value is None:
        expected, found = "a number, or nothing where unknown", repr(row.cells[name])
        remedy = "write a decimal point" if "," in found else None
        raise DataError("not a number", where=f"{row.place}, {name}", expected=expected, found=found, remedy=remedy)
    if abs(value) > _LARGEST:
        expected, found = "a finite number of float32, or nothing where unknown", f"{row.cells[name]!s:.40}"
        raise DataError("values must be finite", where=f"{row.place}, {name}", expected=expected, found=found)
    return value


def _check_files(rows: Sequence[_Row], folder: Path, path: Path) -> None:
    missing = [row for row in rows if not there(path_of(folder, row.path))]
    if missing:
        what, found = "no such image", f"{len(missing)} of {len(rows)} missing, such as {missing[0].path}"
        remedy = f"write paths from the table's folder, {folder}"
        raise DataError(what, where=missing[0].place if len(missing) == 1 else str(path), found=found, remedy=remedy)
