"""Folders of images with two classes."""

import numpy as np
from PIL import Image


def two_classes(root, size, count=1):
    """Write images of smooth noise below ``train`` and ``val``, so many of each class, and return the folder."""
    drawn = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                coarse = Image.fromarray(drawn.integers(0, 256, (9, 12, 3), dtype=np.uint8))
                coarse.resize(size, Image.Resampling.BICUBIC).save(root / split / name / f"{index}.png")
    return root
