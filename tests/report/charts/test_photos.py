"""Images and the maps over them."""

import numpy as np
import pytest

from refconv.report.charts import Photo, photo_row
from refconv.report.charts.scales import Scale

RNG = np.random.default_rng(0)


def photo(pixels, overlay=None):
    return Photo("a", pixels.tobytes(), pixels.shape, overlay)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_keep_their_pixels(channels, read):
    pixels = RNG.integers(0, 256, (28, 20, channels), dtype=np.uint8)
    drawn = read(photo_row([photo(pixels)]))
    found = np.asarray(drawn.images()[0]).reshape(28, 20, channels)
    assert np.array_equal(found, pixels)
    assert "c-cells" in drawn.all("c-photo")[0].get("class")


def test_large_images_get_smaller(read):
    drawn = read(photo_row([photo(np.full((400, 200, 3), 90, dtype=np.uint8))]))
    assert drawn.images()[0].size == (80, 160)
    assert drawn.pixels(0)[..., :3].reshape(-1, 3).mean(axis=0) == pytest.approx([90, 90, 90], abs=2)
    assert "c-cells" not in drawn.all("c-photo")[0].get("class")


def test_a_map_covers_where_it_is_strong(read):
    pixels = np.full((16, 16, 1), 100, dtype=np.uint8)
    overlay = np.zeros((16, 16))
    overlay[:, 8:] = 1
    found = read(photo_row([photo(pixels, overlay.tolist())])).pixels(0).astype(float)
    yellow = Scale(0, 1).palette()[253]
    assert found.shape[:2] == (112, 112)
    assert found[60, 5, :3] == pytest.approx([100, 100, 100], abs=1)
    assert found[60, 105, :3] == pytest.approx(0.35 * 100 + 0.65 * yellow.astype(float), abs=1)


def test_the_legend_is_there_for_maps_only(read):
    pixels = np.zeros((4, 4, 1), dtype=np.uint8)
    assert not read(photo_row([photo(pixels)])).all("c-scale")
    assert read(photo_row([photo(pixels), photo(pixels, [[1.0]])])).all("c-scale")


@pytest.mark.parametrize(
    ("shape", "expected"), [((2, 2, 4), "expected 1 or 3 channels"), ((2, 2, 3), "expected 12 bytes")]
)
def test_pixels_fit_their_shape(shape, expected):
    with pytest.raises(ValueError, match=expected):
        Photo("a", bytes(16), shape)
