"""Runs are COCO's: down the columns, zeros first."""

import numpy as np
import pytest
from faster_coco_eval import mask as reference

from refconv.data.rle import decoded, encoded

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
    runs = encoded(mask)
    theirs = reference.decode(reference.frPyObjects([{"size": [height, width], "counts": runs}], height, width))[..., 0]
    np.testing.assert_array_equal(theirs.astype(bool), mask)
    np.testing.assert_array_equal(decoded(runs, height, width), mask)


def test_runs_go_down_the_columns():
    assert encoded(np.array([[0, 1, 0], [0, 1, 0]], dtype=bool)) == [2, 2, 2]


@pytest.mark.parametrize("counts", [[3], [2, 3], [-1, 5], []])
def test_runs_that_do_not_fill_the_mask_are_refused(counts):
    with pytest.raises(ValueError, match="2 x 2"):
        decoded(counts, 2, 2)
