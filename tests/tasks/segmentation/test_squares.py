"""Boxes of images and masks become squares: cut alike, as pixel by pixel, over the ranges asked for."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from refconv.data.preprocessing import Statement, resolve
from refconv.tasks.segmentation.data import Box, fitted, place_in_square, random_box, whole_box


def in_classes(mask):
    """Return an image whose colours tell the class of each pixel exactly."""
    return Image.fromarray(np.stack([mask * 50, 255 - mask * 50, mask * 20 + 7], axis=2).astype(np.uint8))


def square(image, mask, box, size):
    """Return the square as 8-bit pixels [S, S, 3] and its classes [S, S]; outside the image it is (1, 2, 3)."""
    values = {"img_size": size, "mean": (1 / 255, 2 / 255, 3 / 255), "std": (1.0,), "interpolation": "nearest"}
    preprocessing = resolve([Statement("here", values)], in_chans=3)
    sample, truth = fitted(image, mask, box, preprocessing, ignored=255)
    return (255 * sample.permute(1, 2, 0) + torch.tensor([1, 2, 3])).round().to(torch.uint8).numpy(), truth.numpy()


def slowly(mask, box, size):
    """Return the mask of a box pixel by pixel: the class at the middle of each pixel of the square."""
    found = np.full((size, size), 255)
    for row in range(size):
        for column in range(size):
            y = math.floor(box.top + (row + 0.5) * box.height / size)
            x = math.floor(box.left + (column + 0.5) * box.width / size)
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]:
                found[row, column] = mask[y, x]
    return found


def test_a_square_image_of_the_right_size_passes_unchanged():
    mask = np.random.default_rng(0).integers(0, 4, (16, 16)).astype(np.uint8)
    picture, truth = square(in_classes(mask), mask, whole_box(16, 16), 16)
    np.testing.assert_array_equal(truth, mask)
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(in_classes(mask)))


@pytest.mark.parametrize(("width", "height"), [(24, 24), (40, 20), (20, 40), (13, 29), (1, 50)])
@pytest.mark.parametrize("size", [16, 32])
def test_a_whole_image_lies_in_the_middle_at_its_own_aspect_ratio(width, height, size):
    mask = np.full((height, width), 3, dtype=np.uint8)
    _, truth = square(in_classes(mask), mask, whole_box(width, height), size)
    rows, columns = ((truth == 3).any(axis) for axis in (1, 0))
    assert (int(rows.sum()), int(columns.sum())) == tuple(
        pytest.approx(size * side / max(width, height), abs=1) for side in (height, width)
    )
    for inside in (rows, columns):
        before, after = np.flatnonzero(inside)[0], size - 1 - np.flatnonzero(inside)[-1]
        assert abs(before - after) <= 1
    assert set(np.unique(truth)) <= {3, 255}


@pytest.mark.parametrize("seed", range(12))
def test_image_and_mask_are_cut_alike_and_as_pixel_by_pixel(seed):
    drawn = np.random.default_rng(seed)
    height, width, size = (int(number) for number in drawn.integers(8, 40, 3))
    mask = drawn.integers(0, 5, (height, width)).astype(np.uint8)
    torch.manual_seed(seed)
    box = random_box(width, height, scale=(0.1, 2.0), ratio=(0.5, 2.0))
    picture, truth = square(in_classes(mask), mask, box, size)
    inside = truth != 255
    colours = np.asarray(in_classes(truth))
    # Where the middle of a pixel falls between two of the image, PIL may take the other; a shift would leave few alike.
    assert (np.asarray(picture)[inside] == colours[inside]).all(1).mean() > 0.9
    assert (np.asarray(picture)[~inside] == (1, 2, 3)).all()
    # The edges of the image are rounded to pixels of the square, which moves what is inside by half of one at most.
    half = 0.51 * box.width / size, 0.51 * box.height / size
    near = [
        slowly(mask, Box(box.left + dx * half[0], box.top + dy * half[1], box.width, box.height), size)
        for dx in (-1, 0, 1)
        for dy in (-1, 0, 1)
    ]
    if min(box.left, box.top) >= 0 and box.left + box.width <= width and box.top + box.height <= height:
        np.testing.assert_array_equal(truth, slowly(mask, box, size))
    assert np.mean([np.any([truth[i, j] == other[i, j] for other in near]) for i, j in np.ndindex(size, size)]) > 0.9


def test_random_boxes_cover_the_ranges_and_lie_within_or_around_the_image():
    torch.manual_seed(0)
    boxes = [random_box(60, 40, scale=(0.2, 1.2), ratio=(0.5, 2.0)) for _ in range(2000)]
    areas = np.array([box.width * box.height / 3600 for box in boxes])
    ratios = np.log([box.width / box.height for box in boxes])
    assert (areas.min(), areas.max()) == (pytest.approx(0.2, abs=0.01), pytest.approx(1.2, abs=0.01))
    assert areas.mean() == pytest.approx(0.7, abs=0.03)  # uniform in the area, not in the side
    assert (ratios.min(), ratios.max()) == (pytest.approx(-math.log(2), abs=0.01), pytest.approx(math.log(2), abs=0.01))
    assert ratios.mean() == pytest.approx(0, abs=0.05)
    for box in boxes:
        for start, length, image in ((box.left, box.width, 60), (box.top, box.height, 40)):
            end = start + length
            assert (start >= 0 and end <= image + 1e-9) or (start <= 1e-9 and end >= image - 1e-9)
    places = [box.left / (60 - box.width) for box in boxes]
    assert np.quantile(places, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.04)


def test_a_whole_image_lies_in_the_middle_of_its_square():
    assert whole_box(40, 30) == Box(0.0, -5.0, 40.0, 40.0)
    assert place_in_square(40, 20, size=32) == (0, 8, 32, 24)
