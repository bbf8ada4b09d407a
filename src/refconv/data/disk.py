"""Images read from a disk by worker processes, each sample's augmentation seeded by its own coordinates."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from refconv.data.augmentation import Augmentation
from refconv.data.dataset import Batch, Data, Split
from refconv.data.images import Images, decoded
from refconv.data.info import DataInfo
from refconv.data.loading import load_batches
from refconv.data.pipeline import Transform, eval_transform, train_transform
from refconv.data.preprocessing import IMAGE_MODES, Preprocessing
from refconv.data.splits import Parts, validation_split
from refconv.errors import DataError
from refconv.process.randomness import derive_seed, seeded


class DiskData(Data):
    """Images on a disk served in batches, augmented by timm's transforms.

    Args:
        info: the facts; the sizes of the splits are filled in here.
        parts: the images of each split.
        val_split: share of the training samples set aside for validation.
        augmentation: what is done to training samples.
        workers: processes that read images; 0 reads in this one.
        preprocessing: how an image becomes a tensor.

    Raises:
        DataError: if the validation split or the number of channels is impossible.
        SettingError: if the augmentation is.
    """

    def __init__(
        self,
        info: DataInfo,
        parts: Parts[Images | None],
        *,
        val_split: float,
        augmentation: Augmentation,
        workers: int,
        preprocessing: Preprocessing,
    ) -> None:
        if info.in_chans not in IMAGE_MODES:
            raise DataError("images have 1 or 3 channels", where=info.name, found=f"in_chans={info.in_chans}")
        assert parts.test is not None
        labels = torch.empty(0, dtype=torch.int64) if parts.train is None else parts.train.labels
        train, val = validation_split(labels, val_split, name=info.name, class_names=info.class_names)
        if parts.val is not None:
            val = torch.arange(len(parts.val.labels))
        info = dataclasses.replace(info, train_size=len(train), val_size=len(val), test_size=len(parts.test.labels))
        super().__init__(info, {"train": train, "val": val, "test": torch.arange(info.test_size)}, preprocessing)
        trained = parts.test if parts.train is None else parts.train  # without training images nothing reads them
        self._images: dict[Split, Images] = {
            "train": trained,
            "val": trained if parts.val is None else parts.val,
            "test": parts.test,
        }
        self._train_transform = train_transform(preprocessing, augmentation)
        self._eval_transform = eval_transform(preprocessing)
        self._workers = workers

    def _load_train(self, batches: list[Tensor], *, seed: int, epoch: int) -> Iterator[Batch]:
        return self._loaded("train", self._train_transform, (seed, epoch), batches)

    def _load_eval(self, split: Split, batches: list[Tensor]) -> Iterator[Batch]:
        return self._loaded(split, self._eval_transform, None, batches)

    def _loaded(
        self, split: Split, transform: Transform, coordinates: tuple[int, int] | None, batches: list[Tensor]
    ) -> Iterator[Batch]:
        return load_batches(
            _Samples(self._images[split], IMAGE_MODES[self.info.in_chans], transform, coordinates),
            batches,
            workers=self._workers,
            collate=_collated,
        )


_Sample = tuple[Tensor, int]


@dataclasses.dataclass(frozen=True)
class _Samples:
    """What a worker process gets: it makes sample ``index``, and asks no generator that others have used.

    Attributes:
        images: where the images come from.
        mode: PIL's mode.
        transform: from image to tensor.
        coordinates: seed and epoch; None for a transform that draws nothing.
    """

    images: Images
    mode: str
    transform: Transform
    coordinates: tuple[int, int] | None

    def __getitem__(self, index: int) -> _Sample:
        image = decoded(self.images, index, self.mode)
        label = int(self.images.labels[index])
        if self.coordinates is None:
            return self.transform(image), label
        with seeded(derive_seed("augmentation", *self.coordinates, index)):
            return self.transform(image), label


def _collated(samples: list[_Sample]) -> Batch:
    return torch.stack([image for image, _ in samples]), torch.tensor([label for _, label in samples])
