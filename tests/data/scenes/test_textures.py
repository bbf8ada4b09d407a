"""Backgrounds have colour, vary, and stay within [0, 1]."""

import numpy as np
import pytest

from refconv.data.scenes.textures import PATTERNS, background


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("size", [32, 45])
def test_patterns_fill_the_range_and_no_more(pattern, size):
    fields = [PATTERNS[pattern](np.random.default_rng(seed), size) for seed in range(5)]
    for field in fields:
        assert field.shape == (size, size)
        assert field.min() >= 0
        assert field.max() <= 1
        assert np.ptp(field) > 0.5
    assert (fields[0] != fields[1]).any()


def test_backgrounds_have_colour():
    image = background(np.random.default_rng(0), 32)
    assert image.shape == (32, 32, 3)
    assert 0 <= image.min() <= image.max() <= 1
    assert (image[..., 0] != image[..., 1]).any()
