"""Small files that would become large ones are refused in one line, before memory is asked for."""

import gzip
import io
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from image_folders import two_classes
from refconv.data import images, shards, sizes
from refconv.data.arrays import open_arrays, read_tensor
from refconv.data.images import decode
from refconv.data.opening import open_data
from refconv.data.sizes import most_bytes, unzipped
from refconv.errors import CheckpointError, DataError
from refconv.models.weight_files import read_weights

BOUND = 1 << 20


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Bound what any file may become at 1 MiB, so that tests need no large ones."""
    monkeypatch.setattr(sizes, "_SMALL", BOUND)
    monkeypatch.setattr(sizes, "_STEP", 1 << 16)


def refused(read, words, kind=DataError, most=8 * BOUND):
    """Check that reading is refused in one line, and takes little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(kind, match=words) as error:
            read()
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert taken < most


def test_the_bound_grows_with_the_file():
    assert most_bytes(0) == BOUND
    assert most_bytes(BOUND) == 200 * BOUND


def test_gzip(tmp_path):
    file = tmp_path / "a.gz"
    parts = [b"ab" * 100, b"", b"c" * 5000]
    file.write_bytes(b"".join(gzip.compress(part) for part in parts))
    assert unzipped(file) == b"".join(parts) == gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(bytes(32 * BOUND)))
    refused(lambda: unzipped(file), "a.gz: becomes too large when it is unpacked; expected at most")
    whole = gzip.compress(b"ab" * 100)
    for damaged in (whole[:-1], whole[:20], b"\x1f", whole[:-8] + bytes(8), whole + b"more"):
        file.write_bytes(damaged)
        with pytest.raises(ValueError):
            unzipped(file)


def test_arrays_in_a_zip(tmp_path):
    file = tmp_path / "set.npz"
    one = np.zeros(32 * BOUND, dtype=np.uint8)
    np.savez_compressed(file, x_train=one)
    del one
    refused(lambda: open_arrays(file), "set.npz: becomes too large when it is unpacked")


@pytest.mark.parametrize("inside", [True, False])
def test_an_array_that_says_it_is_larger_than_its_file(inside, tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 1 << 10)})
    content = buffer.getvalue() + bytes(64)
    if inside:
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x_train.npy", content)
        refused(lambda: open_arrays(tmp_path / "a.npz"), "x_train.npy: an array that its file does not hold")
    else:
        (tmp_path / "a.npy").write_bytes(content)
        refused(lambda: read_tensor(str(tmp_path / "a.npy")), "a.npy: cannot be read; expected a .npy file")


def test_images(tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    Image.new("L", (3000, 3000)).save(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    refused(lambda: decode(file), "a.png: unreadable image; found .*decompression bomb")
    said = PngImagePlugin.PngInfo()
    said.add_text("Comment", "x" * (2 * PngImagePlugin.MAX_TEXT_CHUNK), zip=True)
    Image.new("L", (4, 4)).save(file, pnginfo=said)
    refused(lambda: decode(file), "a.png: unreadable image; found .*[Dd]ecompressed data too large")
    assert "EPS" not in images.FORMATS


def test_a_tiff_file_of_many_channels_that_says_it_is_large(tmp_path):
    import tifffile

    file = tmp_path / "a.tif"
    tifffile.imwrite(file, np.zeros((5, 3000, 3000), dtype=np.uint8), compression="zlib")
    refused(lambda: read_tensor(str(file)), "a.tif: becomes too large when it is unpacked", most=40 * BOUND)


def test_a_label_in_a_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_LABEL", 100)
    folder = two_classes(tmp_path / "folder", (8, 8))
    image = next(folder.rglob("*.png")).read_bytes()
    with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
        for name, content in (("a.png", image), ("a.cls", b" " * 200 + b"1")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    refused(lambda: open_data(f"wds:{tmp_path}"), "unreadable shard; found a.cls of 201 bytes is no class")


def test_a_safetensors_file_whose_header_says_it_is_long(tmp_path):
    file = tmp_path / "a.safetensors"
    file.write_bytes((1 << 50).to_bytes(8, "little") + b"{}")
    refused(lambda: read_weights(file), "a.safetensors: damaged", CheckpointError)


def test_a_torch_archive_whose_members_expand(tmp_path):
    import torch

    torch.save({"a": torch.zeros(4)}, tmp_path / "whole.pth")
    file = tmp_path / "a.pth"
    with zipfile.ZipFile(tmp_path / "whole.pth") as whole, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in whole.infolist():
            content = whole.read(member)
            archive.writestr(member.filename, content if "data/" not in member.filename else bytes(32 * BOUND))
    refused(lambda: read_weights(file), "a.pth: becomes too large when it is unpacked", CheckpointError)
