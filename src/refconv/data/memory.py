"""Samples that are tensors, kept in memory or read as rows, augmented a batch at a time by vectorised functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from refconv.data.arrays import Rows, check_rate, resized
from refconv.data.augmentation import Augmentation, erase, flip, pad_crop, resized_crop
from refconv.data.dataset import Batch, Data, DataInfo, Drawn, Split
from refconv.data.preprocessing import FLAGS, RECIPE, Preprocessing, Statement, resolve, says, stated_size
from refconv.data.sources import Source
from refconv.data.splits import index_of, validation_split
from refconv.data.targets import strata, strata_names
from refconv.errors import DataError
from refconv.process.randomness import uniforms

# Which of a sample's uniform numbers goes where: fixed places, so that switching one augmentation on or off
# leaves the draws of the others as they are.
_FLIP, _PAD_CROP, _RESIZED_CROP, _ERASE, _VFLIP = 0, slice(1, 3), slice(3, 7), slice(7, 12), 12
_DRAWS = 13
_INTERPOLATIONS = ("bilinear", "bicubic", "nearest")


class MemoryData(Data):
    """A :class:`Source` served in batches, augmented by vectorised functions.

    The source's own size, mean and standard deviation come after what is stated. What a library says of its published
    weights is left out: they were trained on photographs of several hundred pixels. A single channel is repeated where
    ``in_chans`` asks for more; samples of another size are resized once, here.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        val_split: float = 0.0,
        augmentation: Augmentation | None = None,
        *,
        in_chans: int | None = None,
        stated: Sequence[Statement] = (),
        workers: int = 0,
    ) -> None:
        self._workers = workers
        self._augmentation = augmentation or Augmentation()
        _refuse_unavailable(name, self._augmentation, stated)
        if self._augmentation.vflip and len(source.train.shape) < 4:
            raise DataError("signals have no rows to flip", where=name, found="vflip", remedy="leave it out")
        in_chans = _channels(name, source, in_chans)
        names = strata_names(source.train_labels, source.class_names)
        train, val = validation_split(strata(source.train_labels), val_split, name=name, class_names=names)
        preprocessing = _preprocessing(name, source, in_chans, stated)
        self._unit = source.unit
        self._samples: dict[str, Tensor | Rows] = {"train": source.train, "val": source.train, "test": source.test}
        self._labels = {"train": source.train_labels, "val": source.train_labels, "test": source.test_labels}
        if source.val is not None and source.val_labels is not None:
            val, self._samples["val"], self._labels["val"] = (
                torch.arange(len(source.val_labels)),
                source.val,
                source.val_labels,
            )
        if preprocessing.size != source.train.shape[2:]:
            how = preprocessing.size, preprocessing.interpolation
            self._samples = {split: _resized(samples, *how) for split, samples in self._samples.items()}
        spatial = [1] * len(preprocessing.size)
        self._mean, self._std = (torch.tensor(x).view(-1, *spatial) for x in (preprocessing.mean, preprocessing.std))
        indices: dict[Split, Tensor] = {"train": train, "val": val, "test": torch.arange(len(source.test_labels))}
        super().__init__(DataInfo.of(name, source.class_names, preprocessing, indices), indices, preprocessing)

    def _load(self, split: Split, batches: list[Tensor], drawn: Drawn) -> Iterator[Batch]:
        store, indices = self._samples[split], [index_of(numbers) for numbers in batches]
        read = (store[one] for one in indices) if isinstance(store, Tensor) else store.batches(indices, self._workers)
        for numbers, stored in zip(batches, read, strict=True):
            samples = stored.to(torch.float32) * self._unit
            samples = self._augmented(samples, *drawn, numbers) if drawn else self._normalised(samples)
            yield samples, self._labels[split][index_of(numbers)]

    def train_targets(self) -> Tensor:
        """Return the targets of all training samples."""
        return self._labels["train"][self._indices["train"]]

    def _normalised(self, samples: Tensor) -> Tensor:
        return (samples - self._mean) / self._std

    def _augmented(self, samples: Tensor, seed: int, epoch: int, numbers: Tensor) -> Tensor:
        settings, u = self._augmentation, uniforms(seed, epoch, numbers, _DRAWS)
        if settings.pad_crop:
            samples = pad_crop(samples, u[:, _PAD_CROP], settings.pad_crop)
        if settings.scale is not None:
            mode = settings.interpolation or self.preprocessing.interpolation
            samples = resized_crop(samples, u[:, _RESIZED_CROP], settings.scale, settings.crop_ratio, mode)
        if settings.hflip:
            samples = flip(samples, u[:, _FLIP], settings.hflip)
        if settings.vflip:
            samples = flip(samples, u[:, _VFLIP], settings.vflip, dim=-2)
        samples = self._normalised(samples)
        if settings.re_prob:
            samples = erase(samples, u[:, _ERASE], settings.re_prob)
        return samples


def _preprocessing(name: str, source: Source, in_chans: int, stated: Sequence[Statement]) -> Preprocessing:
    """Resolve preprocessing: what a user or a run says, then the source itself; samples are taken whole."""
    own = tuple(source.train.shape[2:])
    whole = Statement("data in memory", {"crop_pct": 1.0, "crop_mode": "center"})
    taken = [said for said in stated if said.of_run or said.by in {FLAGS, RECIPE}]
    size = stated_size(taken)
    if size is not None and len(size) != len(own):  # the side of a square, of signals
        size = size[:1] * len(own) if size[:1] * len(size) == size else None
    sized_by = next((said for said in taken if stated_size([said])), None)
    sized = Statement(sized_by.by if sized_by and size else name, {"input_size": (in_chans, *(size or own))})
    data = Statement(name, {"mean": source.mean, "std": source.std, "sample_rate": source.rate})
    preprocessing = resolve([whole, sized, *taken, data], in_chans=in_chans, where=name)
    if preprocessing.size != own and preprocessing.interpolation not in _INTERPOLATIONS:
        what, expected = "resampling not available for data kept in memory", ", ".join(_INTERPOLATIONS)
        found, remedy = preprocessing.interpolation, "give --interpolation bicubic, in Python interpolation"
        raise DataError(what, where=name, expected=expected, found=found, remedy=remedy)
    if source.rate is not None:
        check_rate(source.rate, preprocessing.sample_rate, where=name)
    return preprocessing


def _channels(name: str, source: Source, in_chans: int | None) -> int:
    own = source.train.shape[1]
    wanted = own if in_chans is None else in_chans
    if wanted != own and (own != 1 or wanted < 1):
        raise DataError("cannot provide this number of channels", where=name, expected=str(own), found=str(wanted))
    return wanted


def _refuse_unavailable(name: str, augmentation: Augmentation, stated: Sequence[Statement]) -> None:
    """Refuse what only the pipeline for images on disk can do, rather than ignore it."""
    given = [key for key in ("auto_augment", "color_jitter") if getattr(augmentation, key)]
    if says([said for said in stated if said.by in {FLAGS, RECIPE}], "crop_pct"):
        given.append("crop_pct")
    if augmentation.interpolation == "random":
        given.append("interpolation=random")
    stated_here = {said.values.get("interpolation") for said in stated if said.by in {FLAGS, RECIPE}}
    if augmentation.interpolation not in {None, "random", *stated_here} and augmentation.scale is None:
        given.append("train_interpolation without scale")
    if given:
        what = "augmentation not available for tensors: data in memory, arrays, sounds, other channels"
        expected = "hflip, vflip, pad_crop, scale, ratio and re_prob only"
        remedy = "leave it out, or put the images in folders and open them as folder:PATH"
        raise DataError(what, where=name, expected=expected, found=", ".join(given), remedy=remedy)


def _resized(samples: Tensor | Rows, size: Sequence[int], mode: str) -> Tensor | Rows:
    """Resize all samples, a thousand at a time to bound the memory of the float copies."""
    if not isinstance(samples, Tensor):
        return samples.resized(size, mode)
    parts = []
    for part in samples.split(1000):
        made = resized(part.float(), size, mode)
        parts.append(made if samples.is_floating_point() else made.round().clamp(0, 255).to(samples.dtype))
    return torch.cat(parts)
