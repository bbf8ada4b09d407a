"""Boxes are brought inside their images, and what that meant is said once."""

import warnings

import pytest
import torch

from refconv.errors import DataError
from refconv.tasks.detection.annotations import ImageAnnotation, ObjectAnnotation, gathered


def things(*boxes):
    return [
        ObjectAnnotation(box, label, area=7.0, crowd=label == 2, where=f"annotation {label}")
        for label, box in enumerate(boxes, 1)
    ]


def table(*pictures):
    listed = [ImageAnnotation(f"{number}.png", 10 * number, 20, 30, objects) for number, objects in enumerate(pictures)]
    return gathered(listed, where="x.json", class_names=dict(enumerate("abcdef", 1)), masks=False)


def test_objects_are_found_by_their_image():
    annotations = table(things((0, 0, 5, 5), (1, 2, 3, 4)), [], things((10, 10, 30, 20)))
    assert [[*annotations.rows(index)] for index in range(3)] == [[0, 1], [], [2]]
    assert annotations.boxes.tolist() == [[0, 0, 5, 5], [1, 2, 3, 4], [10, 10, 30, 20]]
    assert annotations.labels.tolist() == [1, 2, 1]
    assert annotations.crowd.tolist() == [False, True, False]
    assert annotations.image_ids.tolist() == [0, 10, 20]
    assert annotations.sizes.tolist() == [[20, 30]] * 3
    assert annotations.boxes.dtype == annotations.areas.dtype == torch.float32


def test_a_file_without_objects_is_a_table_without_rows():
    annotations = table([], [])
    assert annotations.boxes.shape == (0, 4)
    assert [*annotations.rows(1)] == []


def test_boxes_a_fraction_beyond_are_clipped_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        annotations = table(things((-0.5, 0, 30.9, 20.01)))
    assert annotations.boxes.tolist() == [[0, 0, 30, 20]]


def test_boxes_beyond_flat_and_outside_are_said_in_one_warning():
    objects = things((25, 15, 40, 18), (3, 3, 3, 9), (31, 3, 35, 9), (-9, 2, 4, 5), (1, 1, 2, 2))
    with pytest.warns(UserWarning) as said:  # noqa: PT030  (the words are compared whole, below)
        annotations = table(objects, things((1, 1, 3, 3)))
    assert [str(warning.message) for warning in said] == [
        "x.json: of 6 boxes 1 without area left out (the first: annotation 2), "
        "1 wholly outside the image left out (the first: annotation 3), "
        "2 that reach beyond the image clipped (the first: annotation 1)"
    ]
    assert annotations.boxes.tolist() == [[25, 15, 30, 18], [0, 2, 4, 5], [1, 1, 2, 2], [1, 1, 3, 3]]
    assert [[*annotations.rows(index)] for index in range(2)] == [[0, 1, 2], [3]]
    assert annotations.labels.tolist() == [1, 4, 5, 1]


def test_boxes_in_other_units_are_refused():
    with pytest.raises(DataError, match="most boxes lie outside .* 2 of 3 boxes outside, the first: annotation 1"):
        table(things((100, 100, 120, 120), (90, 1, 95, 2), (1, 1, 2, 2)))


@pytest.mark.parametrize(
    "boxes",
    [
        [(0.1, 0.2, 0.5, 0.9), (0, 0, 1, 1)],
        [(0.5, 0.5, 1.4, 1.2)],  # the centre in the place of the corner
        [(-0.9, -0.8, 0.5, 0.9), (-1, -1, 1, 1)],  # of VOC, which counts pixels from 1
        [(0.1, 0.2, 0.5, 0.9), (0.3, 0.3, 0.3, 0.3)],
    ],
)
def test_boxes_that_are_shares_of_their_images_are_refused(boxes):
    words = rf"x\.json: the boxes look normalised; .* no side above 1 pixel among {len(boxes)} boxes, .* 30 x 20; mul"
    with pytest.raises(DataError, match=words):
        table(things(*boxes))


@pytest.mark.parametrize(
    "boxes", [[(0.1, 0.2, 0.5, 0.9), (3, 4, 4, 5)], [(0.1, 0.2, 0.5, 0.9), (0, 0, 1.1, 1)], [(7, 7, 7, 7)]]
)
def test_small_boxes_elsewhere_or_a_larger_one_among_them_are_not_normalised(boxes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(table(things(*boxes)).boxes) == sum(right > left for left, _, right, _ in boxes)


def test_no_images_are_refused():
    with pytest.raises(DataError, match=r"x\.json: no images"):
        table()
