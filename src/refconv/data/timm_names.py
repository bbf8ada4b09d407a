"""Data sets that timm opens by name: torchvision's as ``torch/NAME``, Hugging Face's as ``hfds/NAME``."""

from __future__ import annotations

import importlib.util
import io
from typing import Any

import torch
from PIL import Image
from timm.data import create_dataset
from torch import Tensor

from refconv.data.images import open_image
from refconv.data.sources import cache_folder
from refconv.data.splits import Parts, held_out
from refconv.errors import DataError

PREFIXES = ("torch", "hfds")
STREAMS = ("wds", "tfds", "hfids")
# Small enough to be fetched without asking; the others of torchvision take gigabytes.
_DOWNLOADED = ("cifar10", "cifar100", "mnist", "kmnist", "qmnist", "fashion_mnist")


class TimmImages:
    """A data set of timm's or torchvision's as :class:`~refconv.data.images.Images`.

    Images are read through timm's reader and not through its data set, which puts the next sample in the place
    of an unreadable one.
    """

    def __init__(self, name: str, dataset: Any) -> None:
        self._name, self._dataset = name, dataset
        self._reader = getattr(dataset, "reader", None)
        self.labels = _labels(name, dataset, self._reader)
        self.class_names = _class_names(dataset, self._reader, self.labels)

    def open(self, index: int) -> Image.Image:
        """Return one image, perhaps not decoded yet."""
        if self._reader is not None:
            # The whole file at once: PIL does not close a file that it was given open.
            with self._reader[index][0] as file:
                return open_image(io.BytesIO(file.read()))
        image = self._dataset[index][0]
        assert isinstance(image, Image.Image), type(image)
        return image

    def where(self, index: int) -> str:
        """Name one image."""
        inside = "" if self._reader is None else f" ({self._dataset.filename(index)})"
        return f"image {index} of {self._name}{inside}"

    @property
    def native_size(self) -> int | None:
        """Height and width where torchvision keeps all images as one array of squares, else None."""
        shape: tuple[int, ...] = getattr(getattr(self._dataset, "data", None), "shape", ())
        return int(shape[1]) if len(shape) >= 3 and shape[1] == shape[2] else None


def timm_images(name: str, root: str | None, *, val_split: float) -> Parts[TimmImages]:
    """Open the splits of a data set by timm's name."""
    prefix = name.partition("/")[0].lower()
    if prefix in STREAMS:
        raise DataError(
            "a streaming data set: its samples cannot be read by index, so a run could not be resumed exactly",
            where=name,
            expected="folder:PATH, torch/NAME or hfds/NAME",
        )
    train = TimmImages(name, _opened(name, root, "train"))
    splits = _split_names(train) or ("train", "validation")
    val, test = held_out(splits, where=name, val_split=val_split)
    return Parts(
        train=train,
        val=None if val is None else TimmImages(name, _opened(name, root, val)),
        test=TimmImages(name, _opened(name, root, test)),
    )


def _opened(name: str, root: str | None, split: str) -> Any:
    prefix, _, rest = name.partition("/")
    if prefix.lower() == "hfds" and importlib.util.find_spec("datasets") is None:
        raise DataError(
            "needs a package that is not installed", where=name, expected="datasets", remedy="pip install datasets"
        )
    torchvision = prefix.lower() == "torch"
    download = torchvision and rest.lower() in _DOWNLOADED
    place = str(cache_folder()) if torchvision and root is None else root
    try:
        return create_dataset(name, root=place, split=split, download=download)
    # What torchvision, urllib and datasets raise for unknown names, missing files and missing networks.
    except (OSError, RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise DataError(
            f"timm cannot open its split {split!r}",
            where=name,
            found=f"{type(error).__name__}: {error}",
            remedy="check the name, the network and the folder of the data",
        ) from error


def _split_names(images: TimmImages) -> tuple[str, ...]:
    info = getattr(getattr(images._reader, "dataset", None), "info", None)
    return tuple(getattr(info, "splits", None) or ())


def _labels(name: str, dataset: Any, reader: Any) -> Tensor:
    if hasattr(dataset, "targets"):
        listed = dataset.targets
    elif hasattr(reader, "samples"):
        listed = [target for _, target in reader.samples]
    elif hasattr(reader, "label_key"):
        listed = list(reader.dataset[reader.label_key])
    else:
        raise DataError("does not list its labels", where=name, expected="targets, or a reader that lists samples")
    labels = torch.as_tensor(listed, dtype=torch.int64)
    # torchvision's QMNIST has a row of facts per image, the class first.
    return labels if labels.ndim == 1 else labels[:, 0].contiguous()


def _class_names(dataset: Any, reader: Any, labels: Tensor) -> tuple[str, ...]:
    named = getattr(dataset, "class_to_idx", None) or getattr(reader, "class_to_idx", None)
    if named:
        return tuple(str(name) for name, _ in sorted(named.items(), key=lambda item: int(item[1])))
    return tuple(str(label) for label in range(int(labels.max()) + 1))
