"""Masks of single objects, in every form that annotations have."""

import json
import sys

import numpy as np
import pytest
from faster_coco_eval import mask as coco
from PIL import Image

from refconv.data import rle
from refconv.errors import DataError
from refconv.tasks.detection.segments import decoded

MASK = np.random.default_rng(0).random((6, 9)) < 0.4


def test_a_rectangle_as_polygon_covers_its_pixels():
    mask = decoded("[[2, 1, 7, 1, 7, 4, 2, 4]]", 6, 9, where="here")
    expected = np.zeros((6, 9), dtype=bool)
    expected[1:4, 2:7] = True
    np.testing.assert_array_equal(mask, expected)


def test_several_polygons_are_one_object():
    mask = decoded("[[0, 0, 2, 0, 2, 2, 0, 2], [5, 3, 8, 3, 8, 6, 5, 6]]", 6, 9, where="here")
    assert mask.sum() == 4 + 9
    assert mask[:2, :2].all()
    assert mask[3:, 5:8].all()


def test_both_kinds_of_runs_say_the_same():
    runs = {"size": [6, 9], "counts": rle.encoded(MASK)}
    packed = coco.encode(np.asfortranarray(MASK.astype(np.uint8)))
    counts = packed["counts"]
    text = {"size": [6, 9], "counts": counts.decode() if isinstance(counts, bytes) else counts}
    for form in (runs, text):
        np.testing.assert_array_equal(decoded(json.dumps(form), 6, 9, where="here"), MASK)


def test_a_number_in_a_picture_is_an_object(tmp_path):
    numbers = np.array([[0, 1, 2], [2, 2, 1]], dtype=np.uint8)
    picture = Image.fromarray(numbers)
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    picture.save(tmp_path / "o.png")
    form = json.dumps({"file": str(tmp_path / "o.png"), "value": 2})
    np.testing.assert_array_equal(decoded(form, 2, 3, where="here"), numbers == 2)
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
        ({"file": "/nowhere.png", "value": 1}, "No such file"),
    ],
    ids=str,
)
def test_malformed_masks_are_one_line(form, words):
    with pytest.raises(DataError, match=rf"^image 7: unreadable mask; .*{words}"):
        decoded(json.dumps(form), 6, 9, where="image 7")


def test_polygons_without_their_package_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(DataError, match=r'pip install "refconv\[tasks\]"'):
        decoded("[[2, 1, 7, 1, 7, 4, 2, 4]]", 6, 9, where="here")
    # Runs as numbers need nothing.
    form = json.dumps({"size": [6, 9], "counts": rle.encoded(MASK)})
    np.testing.assert_array_equal(decoded(form, 6, 9, where="here"), MASK)
