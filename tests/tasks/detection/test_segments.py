"""Masks of single objects, in every form that annotations have: encoded once, decoded to the same pixels."""

import sys

import numpy as np
import pytest
import torch
from faster_coco_eval import mask as coco
from PIL import Image

from refconv.data import rle
from refconv.errors import DataError
from refconv.tasks.detection.annotations import decoded, encoded, runs, runs_of

MASK = np.random.default_rng(0).random((6, 9)) < 0.4


def pixels(form, height=6, width=9):
    return decoded(encoded(form, height, width, where="here"), height, width, where="here")


def test_a_rectangle_as_polygon_covers_its_pixels():
    mask = pixels([[2, 1, 7, 1, 7, 4, 2, 4]])
    expected = np.zeros((6, 9), dtype=bool)
    expected[1:4, 2:7] = True
    np.testing.assert_array_equal(mask, expected)


def test_several_polygons_are_one_object():
    mask = pixels([[0, 0, 2, 0, 2, 2, 0, 2], [5, 3, 8, 3, 8, 6, 5, 6]])
    assert mask.sum() == 4 + 9
    assert mask[:2, :2].all()
    assert mask[3:, 5:8].all()


def test_both_kinds_of_runs_say_the_same():
    runs = {"size": [6, 9], "counts": rle.encoded(MASK)}
    packed = coco.encode(np.asfortranarray(MASK.astype(np.uint8)))
    counts = packed["counts"]
    text = {"size": [6, 9], "counts": counts.decode() if isinstance(counts, bytes) else counts}
    for form in (runs, text):
        np.testing.assert_array_equal(pixels(form), MASK)
        assert encoded(form, 6, 9, where="here") == text["counts"]


def test_a_number_in_a_picture_is_an_object(tmp_path):
    numbers = np.array([[0, 1, 2], [2, 2, 1]], dtype=np.uint8)
    picture = Image.fromarray(numbers)
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    picture.save(tmp_path / "o.png")
    form = f"2 {tmp_path / 'o.png'}"
    np.testing.assert_array_equal(decoded(form, 2, 3, where="here"), numbers == 2)
    with pytest.raises(DataError, match="here: unreadable mask; .*No such file"):
        decoded("1 /nowhere.png", 2, 3, where="here")
    with pytest.raises(DataError, match=r"here: unreadable mask; .*is of \[2, 3\], the image of \[3, 2\]"):
        decoded(form, 3, 2, where="here")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ([[1, 1, 5, 1]], "a polygon of 4 numbers"),
        ([[1, 1, 5, 1, 5, 5, 3]], "a polygon of 7 numbers"),
        ([[1, 1, 5, 1, 5, 1e9]], "far beyond the image"),
        ([[1, 1, 5, 1, 5, "a"]], "could not convert"),
        ([1, 1, 5, 1, 5, 5], "has no len"),
        ([], "no polygon"),
        ("text", "neither polygons nor runs"),
        ({"counts": [1]}, "neither polygons nor runs"),
        ({"size": [3, 3], "counts": [9]}, r"a mask of \[3, 3\] for an image of \[6, 9\]"),
        ({"size": [6, 9], "counts": [9]}, "runs of 9 pixels for a mask of 6 x 9"),
        ({"size": [6, 9], "counts": "abc"}, "malformed"),
    ],
    ids=str,
)
def test_malformed_masks_are_one_line(form, words):
    with pytest.raises(DataError, match=rf"^image 7: unreadable mask; .*{words}"):
        encoded(form, 6, 9, where="image 7")


def test_counts_that_do_not_fill_the_image_are_one_line():
    text = encoded({"size": [6, 9], "counts": "zzzz"}, 6, 9, where="image 7")
    with pytest.raises(DataError, match="^image 7: unreadable mask; .*decoded 50 pixels"):
        decoded(text, 6, 9, where="image 7")


def test_masks_are_compared_as_the_runs_that_annotations_have(tmp_path):
    numbers = MASK.astype(np.uint8)
    Image.fromarray(numbers).save(tmp_path / "o.png")
    of_picture = runs_of(f"1 {tmp_path / 'o.png'}", MASK)
    of_text = runs_of(encoded({"size": [6, 9], "counts": rle.encoded(MASK)}, 6, 9, where="here"), MASK)
    (of_output,) = runs(torch.from_numpy(MASK)[None])
    for first in (of_picture, of_text):
        np.testing.assert_array_equal(coco.iou([first], [of_output], [False]), [[1.0]])


def test_masks_without_the_package_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(DataError, match=r'pip install "refconv\[tasks\]"'):
        pixels([[2, 1, 7, 1, 7, 4, 2, 4]])
