"""Entry points of data sets that other programs keep: Hugging Face's ``datasets``, torchvision, lists beside shards."""

from __future__ import annotations

import functools
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faults.entry_points import ENTRIES, SAFETENSORS, Entry, entry, image_bytes, of_bytes, of_json, sound_of
from labelled_tables import write_tables
from refconv.data import sources
from refconv.data.opening import open_data
from refconv.data.targets import Wanted
from refconv.digests import digest_of


def samples_of(name: str, **how: Any) -> str:
    """Open data by name and read all that is in it."""
    data = open_data(name, **how)
    batches = [list(batch) for split in ("train", "test") for batch in data.eval_batches(split, batch_size=4)]
    return digest_of([batches, list(data.info.class_names)])


ENTRIES["sound, aiff"] = sound_of("aiff")


# Hugging Face's datasets


def a_saved_set(folder: Path) -> Path:
    """Save a data set of two splits as ``datasets`` does; it is read only where the package is."""
    datasets = pytest.importorskip("datasets", reason="needs the extra hf")
    datasets.disable_progress_bars()
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    drawn = {"img": [{"bytes": image_bytes("PNG"), "path": None}] * 6, "label": [0, 1] * 3}
    parts = {split: datasets.Dataset.from_dict(drawn, features=features) for split in ("train", "test")}
    datasets.DatasetDict(parts).save_to_disk(str(folder / "set"))
    return folder / "set"


def saved_as(file: str, *, structure: bool) -> Callable[[Path], Entry]:
    """Return an entry point of one file of a saved data set."""

    def make(folder: Path) -> Entry:
        place = a_saved_set(folder)
        read = functools.partial(samples_of, f"hf:{place}", img_size=8)
        made = of_json if structure else functools.partial(of_bytes, other=SAFETENSORS)
        return made(place / file, read, legal=True)

    return make


ENTRIES["saved data set, Arrow"] = saved_as("train/data-00000-of-00001.arrow", structure=False)
for _name, _file in {
    "splits": "dataset_dict.json", "state": "train/state.json", "columns": "train/dataset_info.json",
}.items():  # fmt: skip
    ENTRIES[f"saved data set, {_name}"] = saved_as(_file, structure=True)
    ENTRIES[f"saved data set, {_name}, bytes"] = saved_as(_file, structure=False)


# torchvision


def write_idx(folder: Path, names: tuple[str, ...]) -> None:
    """Write small images and labels into files of MNIST's format."""
    draw = np.random.default_rng(0)
    for name in names:
        shape = (20,) if "labels" in name else (20, 28, 28)
        values = (
            np.arange(20, dtype=np.uint8) % 10 if "labels" in name else draw.integers(0, 255, shape, dtype=np.uint8)
        )
        head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
        (folder / name).write_bytes(head + values.tobytes())


def of_torchvision(file: str) -> Callable[[Path], Entry]:
    """Return an entry point of a file of MNIST as torchvision keeps it."""

    def make(folder: Path) -> Entry:
        place = folder / "FashionMNIST" / "raw"
        place.mkdir(parents=True)
        write_idx(place, sources.FILES)
        read = functools.partial(samples_of, "torch/fashion_mnist", root=str(folder))
        return of_bytes(place / file, read, SAFETENSORS, legal=True)

    return make


ENTRIES["torchvision's idx, images"] = of_torchvision(sources.FILES[0])
ENTRIES["torchvision's idx, labels"] = of_torchvision(sources.FILES[1])


@entry("idx")
def _(folder: Path) -> Entry:
    write_idx(folder, sources.FILES)
    read = functools.partial(samples_of, "fashion-mnist", root=str(folder))
    return of_bytes(folder / sources.FILES[1], read, SAFETENSORS, legal=True)


# Lists


@entry("shards, classes.txt")
def _(folder: Path) -> Entry:
    for split in ("train", "val"):
        with tarfile.open(folder / f"{split}-0.tar", "w") as tar:
            for number in range(2):
                for name, content in ((f"{number}.png", image_bytes("PNG")), (f"{number}.cls", str(number).encode())):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    (folder / "classes.txt").write_text("cat\ndog\n")
    return of_bytes(folder / "classes.txt", functools.partial(samples_of, f"wds:{folder}", img_size=8), legal=True)


@entry("table, TSV")
def _(folder: Path) -> Entry:
    write_tables(folder, count=6)
    file = folder / "labels.tsv"
    file.write_text((folder / "labels.csv").read_text().replace(",", "\t"))
    read = functools.partial(samples_of, f"table:{file}", wanted=Wanted(kind="labels"))
    return of_bytes(file, read, b"a\tb\n1\t2\n", legal=True)


@entry("hub's data set, Parquet")
def _(folder: Path) -> Entry:
    datasets = pytest.importorskip("datasets", reason="needs the extra hf")
    datasets.disable_progress_bars()
    place = folder / "set"
    place.mkdir()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    drawn = {"image": [{"bytes": image_bytes("PNG"), "path": None}] * 6, "label": [0, 1] * 3}
    for split in ("train", "test"):
        datasets.Dataset.from_dict(drawn, features=features).to_parquet(str(place / f"{split}.parquet"))
    read = functools.partial(samples_of, f"hfds/{place}", root=str(folder / "cache"), img_size=8)
    return of_bytes(place / "train.parquet", read, SAFETENSORS, legal=True)
