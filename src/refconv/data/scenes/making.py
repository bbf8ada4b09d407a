"""Making a folder of scenes, whole or not at all."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from refconv.data.scenes.composition import Scene, compose
from refconv.data.scenes.items import CUTS, Items, pools
from refconv.data.scenes.layouts import SplitWriter
from refconv.errors import DataError, SettingError
from refconv.process.progress import StepDisplay
from refconv.process.randomness import derive_seed
from refconv.records import Record

RECORD_FILE = "scenes.json"
SIZES = (32, 1024)
_SAY_EVERY = 2000  # scenes; about half a minute


@dataclasses.dataclass(frozen=True)
class ScenesRecord(Record):
    """What was made.

    Attributes:
        source: the data set that the items come from.
        seed: with the rest, decides every byte.
        size: height and width of a scene in pixels.
        items: the least and the largest number of items laid into a scene.
        class_names: one name per class, numbered from 1; 0 is background.
        scenes: how many, per split.
        instances: how many items with a box and a mask, per split.
        hidden: how many items are seen too little for that, per split.
    """

    source: str
    seed: int
    size: int
    items: tuple[int, int]
    class_names: tuple[str, ...]
    scenes: dict[str, int]
    instances: dict[str, int]
    hidden: dict[str, int]

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
    number alone: a larger folder begins with the scenes of a smaller one.

    Args:
        out: the folder to write; it appears when all is written.
        train: how many scenes to train on.
        val: how many to validate on; 0 leaves the split out.
        test: how many to test on; 0 leaves the split out.
        size: height and width of a scene in pixels.
        items: the least and the largest number of items in a scene.
        seed: decides all that is random.
        source: ``fashion-mnist`` or ``digits``.
        root: the folder of the source's files, where they are not found by themselves.
        force: replace a folder of scenes that is there already.
        show: whether to show progress.

    Raises:
        SettingError: if a setting is impossible.
        DataError: if the folder is there already, or the source cannot be opened.
    """
    _check(train=train, val=val, test=test, size=size, items=items, seed=seed)
    _check_out(out, force=force)
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
        record = ScenesRecord(
            source=source,
            seed=seed,
            size=size,
            items=items,
            class_names=class_names,
            scenes=counts,
            instances=instances,
            hidden=hidden,
        )
        for place in (partial, partial / "voc"):
            (place / "classes.txt").write_text("\n".join(("background", *class_names)) + "\n", encoding="utf-8")
        record.write(partial / RECORD_FILE)
        if out.exists():
            out.rename(former)
        partial.rename(out)
    except OSError as error:
        raise DataError("cannot be written", where=str(out), found=str(error)) from error
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
    """Refuse what cannot be made.

    Raises:
        SettingError: if a setting is impossible.
    """
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
    """Refuse to write over anything but, when told so, scenes.

    Raises:
        DataError: if something is there.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / RECORD_FILE).is_file():
        raise DataError("exists already and holds no scenes", where=str(out), remedy="give another folder")
    if not force:
        raise DataError("exists already", where=str(out), remedy="give another folder, or --force to replace it")
