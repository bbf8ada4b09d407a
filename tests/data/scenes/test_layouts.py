"""Runs of masks are COCO's: down the columns, zeros first."""

import numpy as np
import pytest
from faster_coco_eval import mask as reference

from refconv.data.scenes.layouts import runs

MASKS = {
    "random": np.random.default_rng(0).random((7, 5)) < 0.5,
    "starts with one": np.eye(4, 6, dtype=bool),
    "empty": np.zeros((3, 4), dtype=bool),
    "full": np.ones((3, 4), dtype=bool),
    "one pixel": np.ones((1, 1), dtype=bool),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_runs_are_what_another_program_reads(mask):
    height, width = mask.shape
    written = [{"size": [height, width], "counts": runs(mask)}]
    theirs = reference.decode(reference.frPyObjects(written, height, width))[..., 0]
    np.testing.assert_array_equal(theirs.astype(bool), mask)


def test_runs_go_down_the_columns():
    assert runs(np.array([[0, 1, 0], [0, 1, 0]], dtype=bool)) == [2, 2, 2]
