"""Making a folder of scenes of the items of a small data set, whole or not at all, and finding it again."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from refconv.data.scenes.composition import Item, Scene, compose
from refconv.data.scenes.layouts import SplitWriter
from refconv.data.sources import SOURCES, Source, cache_folder
from refconv.data.splits import stratified_split
from refconv.errors import DataError, SettingError
from refconv.paths import path_of
from refconv.process.progress import StepDisplay
from refconv.process.randomness import derive_seed
from refconv.process.shortage import remedy_for
from refconv.records import Record

RECORD_FILE = "scenes.json"
SIZES = (32, 1024)
_SAY_EVERY = 2000  # scenes; about half a minute
VAL_SHARE = 0.1  #: Share of the source's training images that scenes to validate on are composed of


@dataclasses.dataclass(frozen=True)
class Cut:
    """How an item is told from the black around it."""

    threshold: float  # brightness, from 0 to 1, from which a pixel belongs to the item
    closed: bool  # gaps of one or two pixels, dark parts of the item, belong to it too
    mirror: bool  # the item is the same thing when left and right are exchanged


CUTS = {
    "fashion-mnist": Cut(threshold=0.1, closed=True, mirror=True),
    "digits": Cut(threshold=0.25, closed=False, mirror=False),
}


@dataclasses.dataclass(frozen=True)
class ScenesRecord(Record):
    """What was made; source, seed, size, items and the number of scenes decide every byte."""

    source: str
    seed: int
    size: int
    items: tuple[int, int]
    class_names: tuple[str, ...]  # numbered from 1; 0 is background
    scenes: dict[str, int]  # how many, per split
    instances: dict[str, int]  # how many items with a box and a mask, per split
    hidden: dict[str, int]  # how many items are seen too little for that, per split

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {split}" for split, count in self.scenes.items())
        text = f"{counts} scenes of {self.size} x {self.size} with {sum(self.instances.values()):,} {self.source} items"
        hidden = sum(self.hidden.values())
        return f"{text}; {hidden:,} more are nearly or wholly hidden, without box or mask" if hidden else text


def make_scenes(
    out: Path,
    *,
    train: int = 2000,
    val: int = 250,
    test: int = 500,
    size: int = 128,
    items: tuple[int, int] = (1, 6),
    seed: int = 0,
    source: str = "fashion-mnist",
    root: str | None = None,
    force: bool = False,
    show: bool = False,
) -> ScenesRecord:
    """Compose scenes and write them as COCO, as masks and as VOC (see :mod:`refconv.data.scenes.layouts`).

    The splits share no item, whatever their sizes, and a scene depends on seed, size, items, source, split and its
    number alone: a larger folder begins with the scenes of a smaller one. The folder appears when all is written, and
    with ``force`` replaces one of scenes that is there already. A split of 0 scenes is left out. ``size`` is the side
    in pixels, ``items`` the least and the largest number in a scene, and ``root`` the folder of the source's files.

    Raises:
        SettingError: if a setting is impossible.
        DataError: if the folder is there already, or the source cannot be opened.
    """
    _check(train=train, val=val, test=test, size=size, items=items, seed=seed)
    _check_out(out := path_of(out), force=force)
    pool, class_names = pools(source, root)
    counts = {split: n for split, n in (("train", train), ("val", val), ("test", test)) if n}
    partial, former = (out.with_name(f".{out.name}.{kind}") for kind in ("partial", "former"))
    # Whatever comes, an interruption too, no half-written folder stays.
    try:
        for leftover in (partial, former):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        instances, hidden = dict.fromkeys(counts, 0), dict.fromkeys(counts, 0)
        scenes = _composed(counts, pool, seed=seed, size=size, items=items, source=source)
        writers = {split: SplitWriter(partial, split, class_names) for split in counts}
        total = sum(counts.values())
        with StepDisplay("scenes", total=total, show=show) as shown:
            for done, (split, scene) in enumerate(scenes, 1):
                writers[split].add(scene)
                instances[split] += len(scene.instances)
                hidden[split] += scene.hidden
                shown.move(done)
                if done % _SAY_EVERY == 0:
                    shown.say(f"{done:,} of {total:,} scenes")
        for writer in writers.values():
            writer.close()
        record = ScenesRecord(source, seed, size, items, class_names, counts, instances, hidden)
        for place in (partial, partial / "voc"):
            (place / "classes.txt").write_text("\n".join(("background", *class_names)) + "\n", encoding="utf-8")
        record.write(partial / RECORD_FILE)
        if out.exists():
            out.rename(former)
        partial.rename(out)
    except OSError as error:
        with contextlib.suppress(OSError):
            if former.exists() and not out.exists():
                former.rename(out)
        remedy = f"{remedy_for(error) or 'check the place'}, then give the same command again"
        raise DataError("cannot be written", where=str(out), found=str(error), remedy=remedy) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
    return record


def _composed(
    counts: dict[str, int], pool: dict[str, Items], *, seed: int, size: int, items: tuple[int, int], source: str
) -> Iterator[tuple[str, Scene]]:
    """Yield the scenes of all splits with the names of these."""
    low, high = items
    for split, count in counts.items():
        for number in range(count):
            coordinates = derive_seed("scene", seed, size, low, high, source, split, number)
            draw = np.random.Generator(np.random.PCG64(coordinates))
            chosen = draw.integers(len(pool[split]), size=draw.integers(low, high, endpoint=True))
            shown = [pool[split][int(index)] for index in chosen]
            yield split, compose(draw, shown, size=size, mirror=CUTS[source].mirror)


def _check(*, train: int, val: int, test: int, size: int, items: tuple[int, int], seed: int) -> None:
    """Refuse what cannot be made."""
    for name, count in (("val", val), ("test", test), ("seed", seed)):
        if count < 0:
            raise SettingError("impossible", where=name, expected="0 or more", found=str(count))
    if train < 1:
        raise SettingError("impossible", where="train", expected="at least one scene to train on", found=str(train))
    if not SIZES[0] <= size <= SIZES[1]:
        raise SettingError("impossible", where="size", expected=f"{SIZES[0]} to {SIZES[1]} pixels", found=str(size))
    low, high = items
    # Masks hold the number of an instance in 8 bits.
    if not 0 <= low <= high <= 100:
        raise SettingError("impossible", where="items", expected="0 <= LOW <= HIGH <= 100", found=f"{low}..{high}")


def _check_out(out: Path, *, force: bool) -> None:
    """Refuse to write over anything but, when told so, scenes."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / RECORD_FILE).is_file():
        raise DataError("exists already and holds no scenes", where=str(out), remedy="give another folder")
    if not force:
        raise DataError("exists already", where=str(out), remedy="give another folder, or --force to replace it")


class Items:
    """The items of one pool."""

    def __init__(self, source: Source, images: torch.Tensor, labels: torch.Tensor, cut: Cut) -> None:
        self._images, self._labels, self._unit, self._cut = images[:, 0], labels, source.unit, cut

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Item:
        """Return one item, cut out."""
        from scipy.ndimage import binary_closing

        pixels = self._images[index].numpy().astype(np.float32) * np.float32(self._unit)
        mask = pixels >= self._cut.threshold
        if self._cut.closed:
            # With a border, as scipy takes what is outside for background and would eat into items at the edge.
            mask = binary_closing(np.pad(mask, 2), np.ones((3, 3)))[2:-2, 2:-2]
        return Item(pixels, mask, int(self._labels[index]) + 1)


def pools(name: str, root: str | None = None) -> tuple[dict[str, Items], tuple[str, ...]]:
    """Return items per split ``train``, ``val`` and ``test``, none of them in two, and the names of the classes."""
    if name not in CUTS:
        raise SettingError("unknown source of items", where="source", expected=" or ".join(CUTS), found=repr(name))
    try:
        source = SOURCES[name](root)
    except DataError as error:
        other = None if name == "digits" else "or compose digits: --source digits"
        remedy = ", ".join(filter(None, (error.remedy, other))) or None
        raise DataError(
            error.what, where=error.where, expected=error.expected, found=error.found, remedy=remedy
        ) from error
    assert isinstance(source.train, torch.Tensor)
    assert isinstance(source.test, torch.Tensor)  # no rows on disk
    train, val = stratified_split(source.train_labels, VAL_SHARE, purpose="scenes")
    cut = CUTS[name]
    parts = {split: (source.train[part], source.train_labels[part]) for split, part in (("train", train), ("val", val))}
    parts["test"] = source.test, source.test_labels
    return {split: Items(source, *part, cut) for split, part in parts.items()}, source.class_names


def default_folder() -> Path:
    """Return where scenes are written and looked for when no folder is given: below the user's cache folder."""
    return cache_folder() / "scenes"


def scenes_folder(name: str, root: str | None = None) -> Path:
    """Return the folder that a recipe names: ``scenes:FOLDER`` below ``root``, or ``scenes`` for the root itself."""
    _, colon, path = name.partition(":")
    folder = path_of(root, path) if colon else path_of(root) if root else default_folder()
    if not (folder / RECORD_FILE).is_file():
        remedy = f"refconv data scenes --out {folder}"
        raise DataError("no scenes found", where=str(folder), expected=RECORD_FILE, remedy=remedy)
    return folder
