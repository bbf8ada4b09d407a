"""Shards of webdataset on a disk: samples of a folder of the same images, in an order that can start anywhere."""

import io
import json
import tarfile

import pytest
import torch

from image_folders import two_classes
from refconv.data.opening import open_data
from refconv.errors import DataError


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def both(tmp_path):
    """Return a folder of images, and one of shards with the same images in the same order."""
    folder, shards = two_classes(tmp_path / "folder", (24, 20), count=6), tmp_path / "shards"
    (shards / "val").mkdir(parents=True)
    for split, pattern in (("train", "train-{}.tar"), ("val", "val/{}.tar")):
        paths = sorted((folder / split).glob("*/*.png"))
        for number in range(2):
            with tarfile.open(shards / pattern.format(number), "w") as tar:
                for index, path in list(enumerate(paths))[number * 6 : number * 6 + 6]:
                    label = "ab".index(path.parent.name)
                    add(tar, f"./{index:04}.png", path.read_bytes())
                    if split == "train":
                        add(tar, f"./{index:04}.cls", str(label).encode())
                    else:
                        add(tar, f"./{index:04}.json", json.dumps({"label": label}).encode())
    (shards / "classes.txt").write_text("a\nb\n", encoding="utf-8")
    return folder, shards


def test_samples_are_those_of_a_folder(both):
    folder, shards = (
        open_data(f"{kind}:{path}", img_size=16) for kind, path in zip(("folder", "wds"), both, strict=True)
    )
    assert shards.info.class_names == ("a", "b")
    assert shards.info.train_size == shards.info.test_size == 12
    for split in ("train", "test"):
        for mine, theirs in zip(*(data.eval_batches(split, batch_size=5) for data in (shards, folder)), strict=True):
            assert torch.equal(mine[0], theirs[0])
            assert torch.equal(mine[1], theirs[1])


def test_an_epoch_can_start_anywhere(both):
    data = open_data(f"wds:{both[1]}", img_size=16)
    whole = list(data.train_batches(seed=3, epoch=1, batch_size=4))
    tail = list(data.train_batches(seed=3, epoch=1, batch_size=4, first_batch=1))
    for (a, b), (c, d) in zip(whole[1:], tail, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def test_what_cannot_be_used_is_one_line(both, tmp_path):
    _, shards = both

    def refused(words):
        with pytest.raises(DataError, match=words):
            open_data(f"wds:{shards}", img_size=16)

    with pytest.raises(DataError, match="wds:nowhere: no such folder; give the folder that holds the shards"):
        open_data("wds:nowhere")
    (shards / "classes.txt").write_text("a\n", encoding="utf-8")
    refused("classes.txt: too few classes; expected 2 lines, found class 1 in a sample")
    (shards / "classes.txt").unlink()
    assert open_data(f"wds:{shards}", img_size=16).info.class_names == ("0", "1")
    with tarfile.open(shards / "train-2.tar", "w") as tar:
        add(tar, "9.jpg", b"no image")
    refused(
        "train-2.tar: cannot be trained on; expected images, each with a class in NAME.cls or NAME.json, found 9.jpg"
    )
    with tarfile.open(shards / "train-2.tar", "w") as tar:
        add(tar, "9.cls", b"first")
    refused("train-2.tar: unreadable shard; found expected a number")
    with tarfile.open(shards / "train-2.tar", "w:gz") as tar:
        add(tar, "9.cls", b"1")
    refused("train-2.tar: unreadable shard; .* unpack compressed shards to .tar")
    with tarfile.open(shards / "train-2.tar", "w") as tar:
        add(tar, "9.jpg", b"no image")
        add(tar, "9.cls", b"1")
    refused("train-2.tar: 9.jpg: unreadable image; expected one of the formats JPEG")
    for path in shards.glob("val/*.tar"):
        path.unlink()
    refused("nothing to test on")
