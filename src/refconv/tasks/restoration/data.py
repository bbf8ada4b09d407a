"""Pairs of degraded and clean images, made of clean ones on the fly: what is done to them, and how they are served.

Training takes patches: a picture gives as many samples in an epoch as patches fit into it side by side, each from a
random place, turned and mirrored at random. Evaluation takes whole pictures, one at a time, and degrades each as its
name says, so every model, process and run is given the same input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from refconv.data.dataset import Batch, Data, DataInfo, Drawn, Split, as_they_are
from refconv.data.loading import load_batches
from refconv.data.pictures import Pictures, open_pictures
from refconv.data.resizing import resized
from refconv.data.splits import index_of, validation_split
from refconv.errors import DataError, SettingError
from refconv.process.randomness import derive_seed
from refconv.tasks.image_data import image_channels, stacked

UPSCALES = (1, 2, 3, 4)
LEVELS = 255  #: Values of an 8-bit image run from 0 to this
LEAST_SIDE = 11  #: The least side of what is compared: one window of the structural similarity
_HELD_BYTES = 2**29  #: Pictures that need no more than this are decoded once and held in memory
Sample = tuple[Tensor, Tensor]
"""Degraded [C, h, w] and clean [C, h * upscale, w * upscale]; clean values are in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class Degradation:
    """Shrink by a whole number, then add Gaussian noise; both are optional, one of them must be there.

    ``noise`` is its standard deviation in steps of an 8-bit image (0-255); ``upscale`` says how many times larger, per
    side, the restored image is than the input.
    """

    noise: float = 0.0
    upscale: int = 1

    def __post_init__(self) -> None:
        level = f"{self.noise:g}"
        if not 0 <= self.noise <= LEVELS:
            raise SettingError("noise level out of range", where="noise", expected=f"0 to {LEVELS}", found=level)
        if 0 < self.noise < 1:
            what, expected = "noise level below one step of an 8-bit image", "0, or 1 and more"
            whole = f"the noise level runs from 0 to {LEVELS}"
            remedy = f"{whole}: for {level} of the whole range give {LEVELS * self.noise:g}"
            raise SettingError(what, where="noise", expected=expected, found=level, remedy=remedy)
        if self.upscale not in UPSCALES:
            what = "unsupported upscaling factor"
            raise SettingError(what, where="upscale", expected=", ".join(map(str, UPSCALES)), found=str(self.upscale))
        if not self.noise and self.upscale == 1:
            expected, found = "noise > 0 or upscale > 1", "noise=0 and upscale=1"
            remedy = "give, for example, noise=25 to remove noise or upscale=2 to enlarge"
            raise SettingError("nothing to restore", where="noise", expected=expected, found=found, remedy=remedy)

    @property
    def border(self) -> int:
        """Pixels on every side of the restored image that are not compared."""
        return self.upscale if self.upscale > 1 else 0

    @property
    def margin(self) -> int:
        """Pixels around a part of a clean image on which that part of the degraded one depends."""
        return 2 * self.border

    def __call__(self, clean: Tensor, *, seed: int) -> Tensor:
        """Return the degraded image [C, H / upscale, W / upscale] of a clean one with values in [0, 1].

        Small images are rounded to 8 bits, as the field stores them. Noise is neither rounded nor cut off.
        """
        return self.noisy(self.shrunk(clean), seed=seed)

    def shrunk(self, clean: Tensor) -> Tensor:
        """Return the small image of one [C, H, W] whose sides are multiples of ``upscale``, or the image itself."""
        if self.upscale == 1:
            return clean
        height, width = clean.shape[-2:]
        assert height % self.upscale == 0 == width % self.upscale, (height, width, self.upscale)
        return rounded(resized(clean, height // self.upscale, width // self.upscale))

    def noisy(self, image: Tensor, *, seed: int) -> Tensor:
        """Return the image with noise."""
        if not self.noise:
            return image
        generator = torch.Generator().manual_seed(derive_seed("noise", seed))
        return image + torch.randn(image.shape, generator=generator).to(image.dtype) * (self.noise / LEVELS)


def rounded(image: Tensor) -> Tensor:
    """Return the values that an 8-bit image can hold: cut off to [0, 1] and rounded to multiples of 1 / 255."""
    return (image * LEVELS).round().clamp(0, LEVELS) / LEVELS


def cropped_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Return an image [..., H, W] without the last rows and columns that make its sides no multiples."""
    height, width = image.shape[-2:]
    return image[..., : height - height % multiple, : width - width % multiple]


class RestorationData(Data):
    """Degraded and clean images, in patches to train on and whole to evaluate on.

    Samples are float32: batches [n, C, h, w] of the training split; single pictures [1, C, h, w] of the others,
    whatever the batch size. Targets are [n, C, h * upscale, w * upscale]. The side of a clean patch is the largest
    multiple of ``upscale`` up to ``patch_size``. Without ``for_training`` a folder without ``train`` is the test split.
    """

    def __init__(
        self,
        name: str,
        *,
        degradation: Degradation,
        root: str | None = None,
        in_chans: int | None = None,
        patch_size: int = 64,
        val_split: float = 0.0,
        workers: int = 0,
        for_training: bool = True,
    ) -> None:
        parts = open_pictures(name, root, val_split=val_split, for_training=for_training)
        self.degradation, self._workers = degradation, workers
        self._in_chans = channels = image_channels(in_chans, name=name)
        upscale = degradation.upscale
        self._side = patch_size - patch_size % upscale
        train = val = torch.empty(0, dtype=torch.int64)
        if parts.train is not None:
            train, val = validation_split(parts.train.labels, val_split, name=name, class_names=parts.train.class_names)
        if parts.val is not None:
            val = torch.arange(len(parts.val.names))
        test = torch.arange(0 if parts.test is None else len(parts.test.names))
        validated = parts.train if parts.val is None else parts.val
        self._pictures: dict[Split, Pictures | None] = {"train": parts.train, "val": validated, "test": parts.test}
        self._held: dict[Split, dict[int, Tensor] | None] = {
            split: {} if found is not None and int(found.sizes.prod(dim=1).sum()) * channels <= _HELD_BYTES else None
            for split, found in self._pictures.items()
        }
        least = LEAST_SIDE + 2 * degradation.border
        chosen: dict[Split, Tensor] = {"train": train, "val": val, "test": test}
        for split, pictures in self._pictures.items():
            side, remedy = (self._side, "lower patch_size or remove it") if split == "train" else (least, "remove it")
            if pictures is not None:
                _check_sides(pictures, chosen[split], side, multiple=upscale, remedy=remedy)
        self._patches = _patches(parts.train, train, self._side)
        samples = {**chosen, "train": torch.arange(len(self._patches))}
        small = self._side // upscale
        preprocessing = as_they_are("restoration", (channels, small, small))
        super().__init__(DataInfo.of(name, (), preprocessing, samples), samples, preprocessing)

    def _load(self, split: Split, batches: list[Tensor], drawn: Drawn) -> Iterator[Batch]:
        if split != "train":  # whole pictures
            batches = [index[None] for batch in batches for index in batch]
        pictures, held = self._pictures[split], self._held[split]
        assert pictures is not None  # its split would have no samples
        patches = self._patches if split == "train" else None
        samples = _Samples(pictures, held, self._in_chans, self.degradation, patches, self._side, drawn)
        return load_batches(samples, batches, workers=self._workers if held is None else 0, collate=stacked)


@dataclasses.dataclass(frozen=True)
class _Samples:
    """What a worker process gets: it makes sample ``index``, and asks no generator that others have used.

    ``held`` are pictures decoded already (None to hold none); ``patches`` are picture, top and left of each patch,
    int64 [n, 3] (None for whole pictures), where no others are drawn.
    """

    pictures: Pictures
    held: dict[int, Tensor] | None
    in_chans: int
    degradation: Degradation
    patches: Tensor | None
    side: int
    drawn: Drawn

    def __getitem__(self, number: int) -> Sample:
        index = index_of(number)
        if self.patches is None:
            clean = _floats(self._clean(index))
            return self.degradation(clean, seed=derive_seed("evaluation", self.pictures.names[index])), clean
        picture, top, left = self.patches[index].tolist()
        clean = self._clean(picture)
        if not self.drawn:
            return self._patch(clean, top, left, derive_seed("evaluation", self.pictures.names[picture], top, left))
        chance = torch.Generator().manual_seed(derive_seed("augmentation", *self.drawn, number))
        height, width = clean.shape[-2:]
        step = self.degradation.upscale
        top, left = (_drawn((size - self.side) // step + 1, chance) * step for size in (height, width))
        sample = self._patch(clean, top, left, _drawn(2**62, chance))
        turns, mirrored = _drawn(4, chance), _drawn(2, chance)
        degraded, patch = (torch.rot90(image, turns, (-2, -1)) for image in sample)
        return (degraded.flip(-1), patch.flip(-1)) if mirrored else (degraded, patch)

    def _clean(self, picture: int) -> Tensor:
        """Return a picture, uint8 [C, H, W], its sides multiples of the factor."""
        if self.held is None or picture not in self.held:
            values = self.pictures.values(picture, self.in_chans)
            values = cropped_to_multiple(values, self.degradation.upscale)
            if self.held is None:
                return values
            self.held[picture] = values
        return self.held[picture]

    def _patch(self, clean: Tensor, top: int, left: int, seed: int) -> Sample:
        """Return a patch as if cut from the whole degraded picture; top and left are multiples of the factor."""
        margin, factor, small = self.degradation.margin, self.degradation.upscale, self.side // self.degradation.upscale
        above, before = max(0, top - margin), max(0, left - margin)
        window = _floats(clean[:, above : top + self.side + margin, before : left + self.side + margin])
        shrunk = self.degradation.shrunk(window)
        y, x = (top - above) // factor, (left - before) // factor
        degraded = self.degradation.noisy(shrunk[:, y : y + small, x : x + small], seed=seed)
        return degraded, _floats(clean[:, top : top + self.side, left : left + self.side])


def _drawn(below: int, chance: torch.Generator) -> int:
    return int(torch.randint(below, (), generator=chance))


def _floats(values: Tensor) -> Tensor:
    return values.float() / LEVELS


def _patches(pictures: Pictures | None, chosen: Tensor, side: int) -> Tensor:
    """Return picture, top and left of the patches that lie side by side, int64 [n, 3]."""
    rows = []
    for index in chosen.tolist():
        height, width = (pictures.sizes[index] // side).tolist() if pictures is not None else (0, 0)
        tops, lefts = torch.meshgrid(torch.arange(height) * side, torch.arange(width) * side, indexing="ij")
        rows.append(torch.stack([torch.full_like(tops, index), tops, lefts], dim=-1).reshape(-1, 3))
    return torch.cat(rows) if rows else torch.empty(0, 3, dtype=torch.int64)


def _check_sides(pictures: Pictures, chosen: Tensor, least: int, *, multiple: int, remedy: str) -> None:
    """Refuse pictures that are too small, once their sides are multiples of the factor."""
    sizes = pictures.sizes[chosen]
    small = chosen[((sizes - sizes % multiple) < least).any(dim=1)].tolist()
    if small:
        height, width = pictures.sizes[small[0]].tolist()
        where, expected = pictures.where(small[0]), f"at least {least} x {least} pixels"
        found = f"{width} x {height}" + (f", and {len(small) - 1} more such images" if len(small) > 1 else "")
        raise DataError("image too small", where=where, expected=expected, found=found, remedy=remedy)
