"""Reading masks: every way to write numbers, and one line for what is no mask."""

import numpy as np
import pytest
from PIL import Image

from refconv.data.images import PathTable
from refconv.errors import DataError
from refconv.tasks.segmentation.masks import IGNORED, MaskedImages, check_variety, classes_in, read_mask

NUMBERS = np.array([[0, 1, 2], [2, 1, 255]], dtype=np.uint8)


def indexed(numbers):
    image = Image.fromarray(numbers)
    image.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
    return image


def in_grey(mode):
    bands = {"LA": "A", "RGB": "", "RGBA": "A"}[mode]
    grey = Image.fromarray(NUMBERS)
    full = Image.new("L", grey.size, 255)
    return Image.merge(mode, [grey] * (1 if mode == "LA" else 3) + [full] * len(bands))


WAYS = {
    "grey": lambda: Image.fromarray(NUMBERS),
    "palette": lambda: indexed(NUMBERS),
    "16 bits": lambda: Image.fromarray(NUMBERS.astype(np.uint16)),
    "32 bits": lambda: Image.fromarray(NUMBERS.astype(np.int32)),
    "grey and alpha": lambda: in_grey("LA"),
    "three equal bands": lambda: in_grey("RGB"),
    "and alpha": lambda: in_grey("RGBA"),
}


def saved(path, numbers):
    picture = numbers if isinstance(numbers, Image.Image) else Image.fromarray(np.asarray(numbers, dtype=np.uint8))
    picture.save(path)
    return str(path)


def pairs(folder, masks, *, size=(3, 2), **settings):
    """Return masked images with these masks."""
    images = [saved(folder / f"image{n}.png", np.zeros((*size[::-1], 3))) for n in range(len(masks))]
    return MaskedImages(
        PathTable(images), PathTable([saved(folder / f"mask{n}.png", mask) for n, mask in enumerate(masks)]), **settings
    )


@pytest.mark.parametrize("way", WAYS)
def test_numbers_are_read_however_they_are_written(way, tmp_path):
    path = saved(tmp_path / "mask.tif" if "bits" in way else tmp_path / "mask.png", WAYS[way]())
    np.testing.assert_array_equal(read_mask(path), NUMBERS)


def test_a_mask_of_bits_holds_zeros_and_ones(tmp_path):
    path = saved(tmp_path / "mask.png", Image.fromarray(NUMBERS == 1))
    np.testing.assert_array_equal(read_mask(path), NUMBERS == 1)


@pytest.mark.parametrize(
    ("name", "image", "words"),
    [
        ("mask.png", indexed(NUMBERS).convert("RGB"), "the mask holds colours; .*found mode RGB; replace each colour"),
        ("mask.png", indexed(NUMBERS).convert("RGBA"), "the mask holds colours; .*found mode RGBA"),
        ("mask.jpg", Image.fromarray(NUMBERS), "lossy format for a mask; expected PNG, found JPEG"),
        (
            "mask.tif",
            Image.fromarray(NUMBERS.astype(np.float32)),
            "the mask does not hold class indices; .*found mode F",
        ),
    ],
    ids=["colours", "colours and alpha", "jpeg", "fractions"],
)
def test_what_is_no_mask_is_refused_by_name(name, image, words, tmp_path):
    with pytest.raises(DataError, match=rf"{name}: {words}"):
        read_mask(saved(tmp_path / name, image))


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n cut"], ids=["empty", "text", "cut"])
def test_a_damaged_mask_is_named(content, tmp_path):
    (tmp_path / "mask.png").write_bytes(content)
    with pytest.raises(DataError, match=r"mask\.png: unreadable image; expected one of the formats"):
        read_mask(str(tmp_path / "mask.png"))


def test_classes_and_ignored_pixels_pass(tmp_path):
    found = pairs(tmp_path, [NUMBERS]).classes(0, count=3, ignored=255)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, NUMBERS)


@pytest.mark.parametrize(
    ("count", "ignored", "words"),
    [
        (2, 255, r"mask0\.png: the mask holds an undeclared class; expected 0 to 1, or 255 to be ignored, found 2"),
        (3, 254, r"found 255 in 1 pixels; fix the mask"),
        (1, 0, r"found 1 in 2 pixels, 2 in 2 pixels, 255 in 1 pixels"),
    ],
)  # fmt: skip
def test_an_undeclared_class_is_named_with_its_pixels(count, ignored, words, tmp_path):
    with pytest.raises(DataError, match=words):
        pairs(tmp_path, [NUMBERS]).classes(0, count=count, ignored=ignored)


def test_numbers_of_another_meaning_become_classes(tmp_path):
    found = pairs(tmp_path, [NUMBERS], meanings=((0, IGNORED), (1, 1), (2, 0), (255, IGNORED)))
    np.testing.assert_array_equal(found.classes(0, count=2, ignored=9), [[9, 1, 0], [0, 1, 9]])
    with pytest.raises(DataError, match="expected one of 3 known numbers, found 2 in 2 pixels"):
        pairs(tmp_path, [NUMBERS], meanings=((0, 0), (1, 1), (255, IGNORED))).classes(0, count=2, ignored=255)


def test_a_mask_of_another_size_is_named(tmp_path):
    good = pairs(tmp_path, [NUMBERS, NUMBERS])
    assert good.sizes() == [(3, 2), (3, 2)]
    saved(tmp_path / "mask1.png", NUMBERS.T)
    with pytest.raises(
        DataError, match=r"mask1\.png: the mask has another size .*expected 3 x 2, found 2 x 3; export mask"
    ):
        good.sizes()


@pytest.mark.parametrize(("upright", "first"), [(True, 4), (False, 1)])
def test_an_image_is_turned_as_its_mask_is(upright, first, tmp_path):
    stored = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
    found = pairs(tmp_path, [NUMBERS.T if upright else NUMBERS])
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right brings it upright
    Image.fromarray(stored).save(tmp_path / "image0.png", exif=exif)
    image = np.asarray(found.image(0, "L"))
    assert image.shape == read_mask(found.masks[0]).shape
    assert image[0, 0] == first
    assert found.sizes() == [image.shape[::-1]]


def test_a_square_image_is_upright(tmp_path):
    found = pairs(tmp_path, [np.zeros((2, 2), dtype=np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.array([[1, 2], [3, 4]], dtype=np.uint8)).save(tmp_path / "image0.png", exif=exif)
    assert np.asarray(found.image(0, "L")).tolist() == [[4, 3], [2, 1]]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kept", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_images_of_all_modes_are_brought_to_one(kept, mode, tmp_path):
    found = pairs(tmp_path, [NUMBERS])
    path = tmp_path / ("image0.tif" if kept == "CMYK" else "image0.png")
    Image.new(kept, (3, 2)).save(path)
    found = MaskedImages(PathTable([path]), found.masks)
    assert found.image(0, mode).mode == mode


def test_an_image_of_16_bits_is_scaled(tmp_path):
    found = pairs(tmp_path, [NUMBERS])
    Image.fromarray(np.full((2, 3), 257 * 80, dtype=np.uint16)).save(tmp_path / "image0.png")
    assert np.asarray(found.image(0, "RGB")).tolist() == [[[80] * 3] * 3] * 2


def test_classes_are_counted_where_none_are_declared(tmp_path):
    found = pairs(tmp_path, [[[0, 0, 0]] * 2, [[0, 3, 255]] * 2])
    assert classes_in(found, ignored=255, where="here") == 4


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ([[[0, 255, 0]] * 2], "here: .*found only 0, 255, of which 255 is ignored; if 255 is what is looked for"),
        ([[[0, 0, 0]] * 2, [[0, 0, 0]] * 2], "found only 0; check that the masks"),
    ],
    ids=["white is ignored", "nothing"],
)  # fmt: skip
def test_masks_of_one_class_are_refused(masks, words, tmp_path):
    found = pairs(tmp_path, masks)
    with pytest.raises(DataError, match=words):
        classes_in(found, ignored=255, where="here")
    with pytest.raises(DataError, match=words):
        check_variety(found, count=2, ignored=255, where="here")


def test_the_search_for_a_second_class_ends_with_it(tmp_path):
    found = pairs(tmp_path, [[[0, 0, 0]] * 2, [[0, 1, 0]] * 2, [[7, 7, 7]] * 2])
    check_variety(found, count=2, ignored=255, where="here")  # the third mask is not read
    with pytest.raises(DataError, match=r"mask2\.png: the mask holds an undeclared class"):
        check_variety(found, count=1, ignored=1, where="here")
