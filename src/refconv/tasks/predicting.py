"""Predictions for images that a user names, on the screen, as JSON and as pictures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch

from refconv.data.arrays import ARRAYS, SOUNDS, fitted, is_tensor_file
from refconv.data.images import EXTENSIONS, FileImages, PathTable, dangling, decode, images_below, sizes_of
from refconv.data.opening import of_images
from refconv.errors import DataError, file_name_text
from refconv.models.model_input import channels_of
from refconv.models.opening import Opened, input_of
from refconv.models.run_folder import AGAIN, writing
from refconv.records import conformed, parsed_json, replace_file
from refconv.surgery import evaluating
from refconv.tasks.image_data import missing
from refconv.tasks.registry import task_named
from refconv.tasks.sample_task import SampleTask
from refconv.tasks.task import Prediction

_LIST = "predictions.json"


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Return the images that paths name: files as they are, and those in folders as training finds them, in order."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [Path(file) for file in images_below(path, (*EXTENSIONS, *SOUNDS, *ARRAYS))]
            if not inside:
                raise missing("folder", "no images in this folder", where=path, expected=", ".join(EXTENSIONS))
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise missing("folder", "no such image or folder", where=path, found=dangling(path))
    return found


def looking_at(opened: Opened, files: Sequence[Path]) -> Opened:
    """Return a model with the input size that images state where nothing else states one, as in evaluation.

    Those that cannot be read state none.
    """
    if not all(pictured(opened, file) for file in files):
        return opened

    def stating(files: Sequence[Path]) -> Opened:
        images = FileImages(PathTable(files), torch.zeros(len(files), dtype=torch.int64), ())
        return dataclasses.replace(opened, images=of_images(images, None, opened.statements))

    try:
        return stating(files)
    except DataError:
        if not (readable := [file for file in files if _has_size(file)]):
            raise
    return stating(readable)


def _has_size(file: Path) -> bool:
    try:
        return bool(sizes_of(str(file)))
    except DataError:
        return False


def predictions(
    opened: Opened,
    files: Sequence[Path],
    *,
    device: torch.device,
    threshold: float | None = None,
    unreadable: list[tuple[Path, DataError]] | None = None,
) -> Iterator[tuple[Path, Prediction]]:
    """Yield the prediction for each image; those that cannot be read go to ``unreadable``, with the reason.

    Raises:
        DataError: if none can be read, or one cannot where nothing takes it.
    """
    task = task_named(opened.task)
    least = task.threshold if threshold is None else threshold
    with evaluating(opened.model.to(device)), torch.no_grad():
        for file in files:
            try:
                sample = _read(opened, file)
            except DataError as error:
                if unreadable is None or len(unreadable) + 1 == len(files):
                    raise unreadable[0][1] if unreadable else error from error.__cause__
                unreadable.append((file, error))
                continue
            yield file, task.predict(opened, sample, device=device, threshold=least)


def pictured(opened: Opened, file: Path) -> bool:
    """Say whether a file is read as a picture for a model, and not as an array, a sound or one of many channels."""
    in_chans = channels_of(opened.statements, opened.arguments.get("in_chans"))
    return not is_tensor_file(str(file), in_chans)


def _read(opened: Opened, file: Path) -> Any:
    if pictured(opened, file):
        return decode(file)
    if not isinstance(task_named(opened.task), SampleTask):
        expected, found = f"an image, for {opened.task}", file.suffix
        raise DataError("not an image", where=str(file), expected=expected, found=found)
    preprocessing = input_of(opened, pictures=False)
    return fitted(str(file), preprocessing.input_size, preprocessing.interpolation, preprocessing.sample_rate)


def save_predictions(folder: Path, found: Sequence[tuple[Path, Prediction]]) -> None:
    """Write predictions.json, and a picture and a mask for each prediction that has one.

    Only files of earlier predictions in the folder are replaced: others, such as the images themselves, keep their
    names, and pictures of these names get a number.
    """
    with writing(folder, AGAIN):
        folder.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in folder.iterdir()} - _written_before(folder)
        entries = []
        for file, prediction in found:
            entry = {"image": file_name_text(str(file)), **prediction.content}
            for kind, ending in (("picture", ".png"), ("mask", ".mask.png")):
                made = getattr(prediction, kind)
                if made is not None:
                    # Images of two folders may share a name.
                    stems = (file.stem if number == 1 else f"{file.stem}-{number}" for number in count(1))
                    entry[kind] = next(f"{stem}{ending}" for stem in stems if f"{stem}{ending}" not in names)
                    names.add(entry[kind])
                    (folder / entry[kind]).unlink(missing_ok=True)  # it may have become a link to another file
                    made.save(folder / entry[kind])
            entries.append(entry)
        text = json.dumps(entries, indent=2, ensure_ascii=False)
        replace_file(folder / _LIST, f"{text}\n".encode())


def _written_before(folder: Path) -> set[str]:
    """Return the names of the files that earlier predictions have left in a folder."""
    try:
        entries = conformed(list[dict[str, Any]], parsed_json((folder / _LIST).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return set()
    return {str(entry[kind]) for entry in entries for kind in ("picture", "mask") if kind in entry}
