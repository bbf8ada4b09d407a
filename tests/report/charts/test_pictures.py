"""Matrices, sheets of kernels, and images with the maps over them."""

import numpy as np
import pytest

from refconv.report.charts import Heat, Photo, Sheet, heat_maps, kernel_sheets, photo_row
from refconv.report.charts.pictures import Scale


def test_cells_have_the_colours_of_their_values(read):
    drawn = read(heat_maps([Heat("a", [[0.0, 0.5], [1.0, 0.25]])], unit="u"))
    scale = Scale(0, 1)
    expected = scale.palette()[scale.shades(np.array([[0.0, 0.5], [1.0, 0.25]]))]
    assert np.array_equal(drawn.pixels(0)[..., :3], expected)


def test_the_same_value_has_the_same_colour_in_all_maps(read):
    drawn = read(heat_maps([Heat("a", [[0.0, 3.0]]), Heat("b", [[3.0, 12.0]])], unit="u"))
    assert drawn.pixels(0)[0, 1].tolist() == drawn.pixels(1)[0, 0].tolist()
    assert drawn.pixels(0)[0, 0].tolist() != drawn.pixels(1)[0, 0].tolist()


def test_missing_cells_are_hatched_and_said(read):
    drawn = read(heat_maps([Heat("a", [[1.0, None], [2.0, 3.0]])], unit="u"))
    pixels = drawn.pixels(0)
    half = pixels.shape[0] // 2
    assert 0 < (pixels[:half, half:, 3] == 0).mean() < 1
    assert (pixels[half:, :, 3] == 255).all()
    assert "hatched: no value" in drawn.texts("c-under")
    assert [" ".join(tip.split()) for tip in drawn.tips()][:2] == ["row 1, column 1 1", "row 1, column 2 no value"]


def test_complete_maps_have_nothing_hatched(read):
    assert read(heat_maps([Heat("a", [[1.0, 2.0]])], unit="u")).texts("c-under") == ["u"]


def test_the_bar_of_colours_has_ticks_at_their_places(read):
    drawn = read(heat_maps([Heat("a", [[0.0, 1.0]])], unit="u", low=0, high=2))
    ticks = {one.text: float(one.get("x")) for one in drawn.all("c-tick")}
    assert ticks["1.0"] == pytest.approx(150)
    assert drawn.pixels(1).shape[:2] == (1, 254)


def test_boxes_of_cells_lie_over_them(read):
    drawn = read(heat_maps([Heat("a", [[0.0] * 4, [1.0] * 4])], unit="u"))
    boxes = [one.get("d") for one in drawn.root.iter() if one.get("data-tip")]
    assert boxes[5] == "M60 60h60v60h-60z"


def test_large_maps_stay_small(read):
    markup = heat_maps([Heat("a", np.random.default_rng(0).random((100, 100)).tolist())], unit="u")
    assert read(markup).tips() == []
    assert len(markup) < 25_000


def sheet(kernels):
    return Sheet("base", np.asarray(kernels).tolist(), [f"kernel {i}" for i in range(len(kernels))])


def drawn_taps(pixels, row, column, kernel=(3, 3)):
    """Return the colours of the middles of a kernel's taps."""
    top, left = 2 + row * (kernel[0] * 4 + 2), 2 + column * (kernel[1] * 4 + 2)
    return pixels[top + 2 : top + 4 * kernel[0] : 4, left + 2 : left + 4 * kernel[1] : 4]


def test_taps_have_the_colours_of_their_values(read):
    kernels = np.random.default_rng(0).normal(size=(7, 3, 3))
    drawn = read(kernel_sheets([sheet(kernels)]))
    far = np.abs(kernels).max()
    scale = Scale(-far, far, diverging=True)
    expected = scale.palette()[scale.shades(kernels[5])]
    assert np.array_equal(drawn_taps(drawn.pixels(0), 1, 2)[..., :3], expected)
    assert drawn.images()[0].size == (3 * 14 + 2, 3 * 14 + 2)


def test_gaps_are_clear(read):
    pixels = read(kernel_sheets([sheet(np.ones((4, 3, 3)))])).pixels(0)
    assert (pixels[:2, :, 3] == 0).all()
    assert (pixels[:, 14:16, 3] == 0).all()


def test_sheets_share_a_scale_around_zero(read):
    drawn = read(kernel_sheets([sheet([[[1.0, 0.0]]]), sheet([[[-4.0, 1.0]]])]))
    first, second = drawn.pixels(0), drawn.pixels(1)
    assert drawn_taps(first, 0, 0, (1, 2))[0, 0].tolist() == drawn_taps(second, 0, 0, (1, 2))[0, 1].tolist()
    assert drawn_taps(first, 0, 0, (1, 2))[0, 1, :3].min() > 240


def test_kernels_say_their_names_and_taps_in_rows(read):
    markup = kernel_sheets([Sheet("base", [[[0.12345, -1], [0, 2e-7]]], ["slice 9"])])
    assert "slice 9&#10;0.123 −1&#10;0 2e−07" in markup


def test_kernels_of_one_dimension_fill_the_sheet_in_rows(read):
    drawn = read(kernel_sheets([sheet(np.ones((16, 1, 9)))]))
    wide, high = drawn.images()[0].size
    assert 0.6 < wide / high < 1.7


def test_a_sheet_of_64_stays_small_and_a_larger_one_is_silent(read):
    kernels = np.random.default_rng(0).normal(size=(65, 3, 3))
    assert len(kernel_sheets([sheet(kernels[:64])]).encode()) < 15_000
    assert read(kernel_sheets([sheet(kernels)])).tips() == []


def test_kernels_of_a_sheet_are_of_one_size():
    with pytest.raises(ValueError, match="inhomogeneous"):
        kernel_sheets([Sheet("base", [[[1.0]], [[1.0, 2.0]]], ["a", "b"])])


def test_as_many_names_as_kernels():
    with pytest.raises(ValueError, match="longer"):
        kernel_sheets([Sheet("base", [[[1.0]]], ["a", "b"])])


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


def test_pixels_fit_their_shape():
    with pytest.raises(ValueError, match="not enough image data"):
        photo_row([Photo("a", bytes(16), (4, 2, 3))])
