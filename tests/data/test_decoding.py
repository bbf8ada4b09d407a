import io
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from timm.data import create_transform

from refconv.data.images import decode, sizes_of
from refconv.errors import DataError

RAMP = np.linspace(0, 1, 64).reshape(8, 8)


def colours() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8))


def stored(image: Image.Image, form: str, **options) -> Image.Image:
    file = io.BytesIO()
    image.save(file, form, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def eight_bit_images() -> dict[str, Image.Image]:
    """Return images of every 8-bit mode, as PIL opens them."""
    rgb = colours()
    rgba = rgb.copy()
    rgba.putalpha(rgb.convert("L"))
    palette = rgb.quantize(16)
    return {
        "rgb": stored(rgb, "PNG"),
        "jpeg": stored(rgb, "JPEG"),
        "l": stored(rgb.convert("L"), "PNG"),
        "1": stored(rgb.convert("1"), "PNG"),
        "cmyk": stored(rgb.convert("CMYK"), "JPEG"),
        "ycbcr": rgb.convert("YCbCr"),
        "p": stored(palette, "PNG"),
        "gif": stored(palette, "GIF"),
        "rgba": stored(rgba, "PNG"),
        "la": stored(rgba.convert("LA"), "PNG"),
        "p with one transparent colour": stored(palette, "PNG", transparency=0),
    }


@pytest.mark.parametrize("name", eight_bit_images())
def test_8_bit_images_are_exactly_what_pil_converts(name):
    image = eight_bit_images()[name]
    assert np.array_equal(np.asarray(decode(image).convert("RGB")), np.asarray(image.convert("RGB")))
    if image.mode in {"RGB", "L", "1", "LA"}:
        assert np.array_equal(np.asarray(decode(image).convert("L")), np.asarray(image.convert("L")))


def test_the_tensor_of_timms_transform_is_the_same(tmp_path):
    colours().resize((300, 260)).save(tmp_path / "a.jpg")
    transform = create_transform((3, 64, 64), interpolation="bicubic", crop_pct=0.9)
    with Image.open(tmp_path / "a.jpg") as image:
        assert torch.equal(transform(decode(tmp_path / "a.jpg").convert("RGB")), transform(image.convert("RGB")))


def test_a_palette_with_degrees_of_transparency_loses_only_these():
    palette = colours().quantize(4)
    image = stored(palette, "PNG", transparency=bytes([0, 128, 255, 255]))
    assert np.array_equal(np.asarray(decode(image)), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ((RAMP * 65535).astype(np.uint16), "PNG"),
        ((RAMP * 65535).astype(np.uint16), "TIFF"),
        ((RAMP * 65535).astype(np.int32), "TIFF"),
        (RAMP.astype(np.float32), "TIFF"),
    ],
    ids=["16-bit PNG", "16-bit TIFF", "32-bit integers", "floats"],
)
def test_deep_values_are_scaled_by_what_they_are(values, form):
    found = np.asarray(decode(stored(Image.fromarray(values), form)))
    unit = 255 / (1 if values.dtype.kind == "f" else 65535)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.round(values * unit))
    assert len(np.unique(found)) == 64


def test_16_bit_values_are_rounded_not_cut():
    values = np.array([[128, 129, 65535 - 129, 65535 - 128]], dtype=np.uint16)
    assert np.asarray(decode(Image.fromarray(values))).tolist() == [[0, 1, 254, 255]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0, 65536]], dtype=np.int32), "integers from 0 to 65535, found int32 from 0 to 65536"),
        (np.array([[-1, 5]], dtype=np.int32), "integers from 0 to 65535, found int32 from -1 to 5"),
        (np.array([[0, 255]], dtype=np.float32), "floats from 0 to 1, found float32 from 0.0 to 255.0"),
        (np.array([[0, np.nan]], dtype=np.float32), "floats from 0 to 1"),
    ],
)
def test_values_without_a_known_white_are_refused(values, message):
    with pytest.raises(DataError, match=rf"^picture: values that do not say what is white; expected {message}"):
        decode(Image.fromarray(values), where="picture")


def test_32_bits_that_may_hold_8_are_refused(tmp_path):
    """They were read as black; a black image is none of them."""
    file = tmp_path / "a.tif"
    expected = "expected integers from 0 to 65535, some above 255, found int32 from 0 to 255; save it with 8 or 16 bits"
    Image.fromarray(np.array([[0, 255]], dtype=np.int32)).save(file)
    with pytest.raises(DataError, match=expected):
        decode(file)
    for black, kind in ((np.zeros((2, 2), np.int32), "TIFF"), (np.array([[0, 255]], np.uint16), "PNG")):
        Image.fromarray(black).save(file, format=kind)
        assert np.asarray(decode(file)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_images_are_upright(orientation, ending, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{ending}"
    colours().save(file, exif=exif)
    with Image.open(file) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    found = decode(file)
    assert np.array_equal(np.asarray(found), np.asarray(expected))
    assert not found.getexif()  # so that nobody turns it again
    assert sizes_of(str(file))[0] == expected.size
    if ending != "tif":
        assert sizes_of(str(file))[1] == decode(file, upright=False).size == (16, 12)


def test_damaged_exif_data_are_passed_over():
    image = stored(colours(), "PNG", exif=b"Exif\0\0II*\0nonsense")
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):
        assert decode(image).size == (16, 12)


def test_an_image_of_the_user_stays_as_it_is():
    image = colours()
    image.info["transparency"] = 3
    decode(image).putpixel((0, 0), (1, 2, 3))
    assert image.info == {"transparency": 3}
    assert image.getpixel((0, 0)) == colours().getpixel((0, 0))


def test_what_is_no_image_is_refused_in_one_line(tmp_path, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "check_call", forbidden)
    monkeypatch.setattr(subprocess, "Popen", forbidden)
    file = tmp_path / "a.jpg"
    whole = io.BytesIO()
    colours().save(whole, "JPEG")
    script = io.BytesIO()
    colours().save(script, "EPS")
    contents = {
        b"": "found an empty file",
        b"hello": "found another",
        b"<svg/>": "found another",
        script.getvalue(): "found another",
        whole.getvalue()[:-200]: "(?i:truncated)",
    }
    for content, found in contents.items():
        file.write_bytes(content)
        with pytest.raises(DataError, match=f"a.jpg: unreadable image; .*{found}") as caught:
            decode(file)
        assert "\n" not in str(caught.value)


def test_a_decompression_bomb_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90)
    colours().save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.png: unreadable image; found DecompressionBombError"):
        decode(tmp_path / "a.png")
