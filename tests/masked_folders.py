"""Small images with masks on disk, for the tests of segmentation."""

import numpy as np
from PIL import Image

NAMES = ("background", "disc", "bar")
SPLITS = {"train": 8, "val": 3, "test": 3}


def scene(number, *, width=32, height=32):
    """Return an image in which the colour tells the class, and its mask; both uint8."""
    drawn = np.random.default_rng(number)
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), dtype=np.uint8)
    row, column = drawn.integers(8, height - 8), drawn.integers(8, width - 8)
    mask[(y - row) ** 2 + (x - column) ** 2 < 36] = 1
    mask[:, 2:5] = 2
    colours = np.array([[40, 40, 40], [220, 60, 60], [60, 60, 220]])
    image = colours[mask] + drawn.integers(-20, 20, (height, width, 3))
    return image.astype(np.uint8), mask


def write_masks(folder, *, splits=SPLITS, classes=NAMES, **size):
    """Write ``images`` and ``masks`` for each split, and the names of the classes."""
    for number, split in enumerate(splits):
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(splits[split]):
            image, mask = scene(100 * number + index, **size)
            Image.fromarray(image).save(folder / "images" / split / f"{index:02}.png")
            Image.fromarray(mask).save(folder / "masks" / split / f"{index:02}.png")
    if classes:
        (folder / "classes.txt").write_text("\n".join(classes) + "\n")
    return folder


def write_voc(folder, *, splits):
    """Write Pascal VOC's layout, with the border between classes ignored."""
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for number, split in enumerate(splits):
        names = [f"{split}_{index:02}" for index in range(splits[split])]
        for index, name in enumerate(names):
            image, mask = scene(100 * number + index, width=30, height=40)
            mask[:, 5] = 255
            Image.fromarray(image).save(folder / "JPEGImages" / f"{name}.jpg")
            Image.fromarray(mask).save(folder / "SegmentationClass" / f"{name}.png")
        (folder / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return folder


def write_cityscapes(folder, *, numbers=(7, 26, 0)):
    """Write Cityscapes' layout; each class of the scene gets a number of Cityscapes' labels."""
    for number, split in enumerate(("train", "val")):
        for kind, ending in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
            for city in ("aachen", "bonn"):
                (folder / kind / split / city).mkdir(parents=True)
                image, mask = scene(number, width=64)
                picture = image if kind == "leftImg8bit" else np.array(numbers, dtype=np.uint8)[mask]
                Image.fromarray(picture).save(folder / kind / split / city / f"{city}_000000_000019_{ending}.png")
    return folder
