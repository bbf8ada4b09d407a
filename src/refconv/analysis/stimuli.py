"""Images whose shape is of one class and whose texture is of another, in a folder that the user has.

Their names say both, as those of the public ones do (Geirhos et al., ICLR 2019): ``bear3-clock2.png`` has the shape of
a bear and the texture of a clock. Where these are not classes of the model, ``classes.csv`` in the folder says by lines
CLASS,NAME which of the model's classes, by name or number, each is made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch

from refconv.analysis.answers import KeptBatches
from refconv.analysis.batches import Batch, Batches
from refconv.data.class_names import read_class_map
from refconv.data.disk import eval_transform
from refconv.data.images import EXTENSIONS, decode, images_below
from refconv.data.preprocessing import IMAGE_MODES
from refconv.errors import DataError, SettingError
from refconv.models.opening import Opened, input_of
from refconv.tasks.model_data import classes_of

CUES = "cues"  #: The name of the measure
_NAME = re.compile(r"(.+?)\d*-(.+?)\d*")
_GROUPS = "classes.csv"
_BATCH = 32


def open_stimuli(folder: Path, opened: Opened, device: torch.device) -> tuple[Batches, list[int] | None]:
    """Return batches of images with the classes of shape and texture, and the group of each of the model's classes.

    Images are prepared as those of the model are. The groups are None where images are of the model's own classes.

    Raises:
        SettingError: if the model is no classifier.
        DataError: if there are no such images, or their names say classes that are not known.
    """
    if opened.task != "classification":
        found = f"a model for {opened.task}"
        raise SettingError("shape and texture are cues for classifiers", where="--cue-conflict", found=found)
    files = images_below(folder) if folder.is_dir() else []
    if not files:
        expected = f"images SHAPE-TEXTURE.png, such as bear3-clock2.png ({', '.join(EXTENSIONS)})"
        raise DataError("no images in this folder", where=str(folder), expected=expected)
    cues = [_cues(Path(file)) for file in files]
    groups, names = _groups(folder, opened)
    number = {name: index for index, name in enumerate(names)}
    if unknown := sorted({cue for pair in cues for cue in pair} - number.keys()):
        found, remedy = ", ".join(unknown[:8]), f"say in {folder / _GROUPS}, by lines CLASS,NAME, what they are made of"
        what, expected = "names of classes that are not known", ", ".join(list(names)[:8])
        raise DataError(what, where=str(folder), expected=expected, found=found, remedy=remedy)
    targets = torch.tensor([[number[cue] for cue in pair] for pair in cues])
    preprocessing = input_of(opened)
    transform, mode = eval_transform(preprocessing), IMAGE_MODES[preprocessing.in_chans]

    def through() -> Iterator[Batch]:
        for part in torch.arange(len(files)).split(_BATCH):
            images = [transform(decode(files[index]).convert(mode)) for index in part.tolist()]
            yield torch.stack(images).to(device), targets[part].to(device)

    return KeptBatches(through), groups


def _cues(file: Path) -> tuple[str, str]:
    found = _NAME.fullmatch(file.stem)
    if found is None:
        expected = "SHAPE-TEXTURE, such as bear3-clock2"
        raise DataError("a name that does not say shape and texture", where=str(file), expected=expected)
    return found[1], found[2]


def _groups(folder: Path, opened: Opened) -> tuple[list[int] | None, tuple[str, ...]]:
    """Return the group of each of the model's classes, where the folder says it, and the names that targets have."""
    outputs = classes_of(opened).outputs or 0
    own = tuple(opened.class_name(index) for index in range(outputs))
    file = folder / _GROUPS
    if not file.is_file():
        return None, own
    said = read_class_map(file)
    names = tuple(sorted(set(said.values())))
    found = [said.get(own[index], said.get(str(index))) for index in range(outputs)]
    strange = sorted(said.keys() - {*own, *map(str, range(outputs))})
    if strange:
        raise DataError("no such classes of the model", where=str(file), expected=own[0], found=", ".join(strange[:8]))
    return [-1 if name is None else names.index(name) for name in found], names
