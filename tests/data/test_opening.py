"""Tests of refconv.data.opening."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_dataset

from refconv.data import Augmentation, open_data, opening
from refconv.data.images import class_folders, decoded, images_below
from refconv.data.opening import TimmImages, folder_images
from refconv.errors import DataError, RefconvWarning, SettingError
from refconv.tasks.predicting import image_files


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digit", "digit: unknown data; expected digits$"),
        ("fashion_mnist", "expected fashion-mnist"),
        ("MNIST1D", "expected mnist1d"),
        ("zzz", "expected digits, fashion-mnist, mnist1d, folder:PATH, table:PATH, arrays:PATH, hf:PATH, wds:PATH"),
        ("nosuch/thing", "unknown data"),
        ("fodler:cf", "fodler:cf: unknown data; found No module named 'fodler'; did you mean folder:cf[?]$"),
        ("tabel:/x/y.csv", "unknown data; .*; did you mean table:/x/y.csv[?]$"),
        ("vocs:place", "did you mean voc:place or coco:place[?]$"),
        ("mypackage:folder", "cannot open the data; .*No module named 'mypackage'$"),
    ],
)
def test_unknown_data_are_refused_with_the_closest_names(name, words):
    with pytest.raises(DataError, match=words):
        open_data(name)


def test_a_plain_path_is_refused_with_the_way_to_write_it(shared_folder):
    with pytest.raises(DataError, match=rf"write folder:{shared_folder} to read that folder"):
        open_data(str(shared_folder))


def test_a_relative_folder_starts_at_the_root(shared_folder):
    data = open_data(f"folder:{shared_folder.name}", root=str(shared_folder.parent))
    assert data.info.input_size == (3, 224, 224)
    assert data.info.class_names == ("ant", "bee", "cat")


def test_a_missing_folder_is_refused():
    with pytest.raises(DataError, match="folder:nowhere: no such folder"):
        open_data("folder:nowhere")


def test_images_are_normalised_by_imagenet_unless_told_otherwise(shared_folder):
    name = f"folder:{shared_folder}"
    assert open_data(name).info.mean == (0.485, 0.456, 0.406)
    assert open_data(name, in_chans=1).info.mean == (0.449,)
    assert open_data(name, mean=(0.5,), std=(0.25,)).info.std == (0.25, 0.25, 0.25)
    with pytest.raises(DataError, match="mean of folder:.*wrong number of values"):
        open_data(name, mean=(0.1, 0.2))


def test_an_unknown_policy_is_refused_at_once(shared_folder):
    with pytest.raises(SettingError, match="auto_augment"):
        open_data(f"folder:{shared_folder}", augmentation=Augmentation(auto_augment="nosuch"))


@pytest.mark.parametrize("name", ["digits", "mnist1d"])
def test_data_in_memory_take_every_argument(name):
    data = open_data(name, val_split=0.1, img_size=16, in_chans=3, mean=(0.0,), std=(2.0,), workers=2)
    x, y = next(data.train_batches(seed=0, epoch=0, batch_size=8))
    assert x.shape == (8, *data.info.input_size)
    assert data.info.input_size[:2] == (3, 16)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert data.info.std == (2.0, 2.0, 2.0)


@pytest.mark.parametrize("name", ["scenes", "voc:there", "masks:there", "photographs"])
def test_data_of_another_task_is_said_to_be_so(name):
    with pytest.raises(DataError, match=f"{name}: no data for classification; give --task detection, segmentation or"):
        open_data(name)


@pytest.mark.parametrize(
    ("odd", "size", "words"),
    [
        (0, (3, 32, 32), "32 x 32 px, whole (size of the images);"),
        (2, (3, 32, 32), "32 x 32 px, whole (size of the images, as 18 of the 20 looked at);"),
        (3, (3, 224, 224), "224 x 224 px"),
    ],
)
def test_nine_in_ten_images_of_one_square_size_decide_the_size(tmp_path, odd, size, words):
    for number in range(20):
        place = tmp_path / "val" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 32 + number) if number < odd else (32, 32)).save(place / f"{number}.png")
    data = open_data(f"folder:{tmp_path}", for_training=False)
    assert data.info.input_size == size
    assert words in str(data.preprocessing)


@pytest.fixture
def fashion_root(tmp_path, idx_folder):
    idx_folder(tmp_path / "FashionMNIST" / "raw")
    return str(tmp_path)


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_grey_images_of_torchvision_come_with_the_channels_asked_for(fashion_root, channels):
    data = open_data("torch/fashion_mnist", root=fashion_root, in_chans=channels, val_split=0.25)
    assert data.info.input_size == (channels or 3, 28, 28)
    assert data.info.class_names[1] == "Trouser"
    assert (data.info.train_size, data.info.val_size, data.info.test_size) == (30, 10, 20)
    x, _ = next(data.eval_batches("test", batch_size=20))
    assert x.shape == (20, *data.info.input_size)


def test_images_of_the_native_size_are_evaluated_whole(fashion_root):
    data = open_data("torch/fashion_mnist", root=fashion_root, in_chans=1, mean=(0.0,), std=(1.0,))
    x, y = next(data.eval_batches("train", batch_size=40))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28))
    torch.testing.assert_close(x[:, 0], torch.from_numpy(pixels).float() / 255)
    assert torch.equal(y, torch.arange(40) % 10)


def test_training_repeats_with_workers(fashion_root):
    settings = {"root": fashion_root, "augmentation": Augmentation(hflip=0.5, pad_crop=4)}
    one, two = (
        list(
            open_data("torch/fashion_mnist", workers=workers, **settings).train_batches(seed=0, epoch=0, batch_size=20)
        )
        for workers in (0, 2)
    )
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(one, two, strict=True))
    assert len(one) == 2


def test_an_image_that_timm_would_skip_is_named(own_folder):
    (own_folder / "train" / "bee" / "04.png").write_bytes(b"no image")
    images = TimmImages("toy", create_dataset("", root=str(own_folder), split="train"))
    assert images.class_names == ("ant", "bee", "cat")
    assert images.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert decoded(images, 13, "L").mode == "L"
    with pytest.raises(DataError, match=r"image 14 of toy \(.*04\.png\): unreadable image"):
        decoded(images, 14, "RGB")


@pytest.mark.parametrize("name", ["torch/nosuch", "torch/cifar10"])
def test_data_that_timm_cannot_open_are_refused(name, tmp_path, monkeypatch):
    def offline(*args, **settings):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", offline)
    with pytest.raises(
        DataError,
        match=rf"{name}: timm cannot open its split 'train'; found .*check the name, the network and the folder",
    ):
        open_data(name, root=str(tmp_path))


@pytest.mark.parametrize("name", ["wds/imagenet", "TFDS/mnist", "hfids/x"])
def test_streams_are_refused_with_the_reason(name):
    with pytest.raises(DataError, match=rf"{name}: a stream.*could not be resumed exactly; expected folder:PATH"):
        open_data(name)


@pytest.mark.skipif(importlib.util.find_spec("datasets") is not None, reason="datasets is installed")
def test_a_missing_package_is_named(capsys):
    with pytest.raises(DataError, match=r"hfds/cifar10: needs a package.*pip install datasets"):
        open_data("hfds/cifar10")
    assert capsys.readouterr().out == ""


class FakeReader:
    """What timm's reader of Hugging Face data sets offers, around image files."""

    label_key = "label"

    def __init__(self, paths, labels, splits):
        self.paths, self.labels = paths, labels
        self.class_to_idx = {"ant": 0, "bee": 1}
        info = type("Info", (), {"splits": dict.fromkeys(splits)})()
        self.dataset = type("Table", (dict,), {"info": info})(label=labels)

    def __getitem__(self, index):
        return self.paths[index].open("rb"), self.labels[index]


@pytest.mark.parametrize(
    ("splits", "val_size", "test_split"),
    [(("train", "test"), 0, "test"), (("train", "validation", "test"), 2, "test"), (("train", "valid"), 0, "valid")],
    ids=str,
)
def test_splits_of_hugging_face_are_found(shared_folder, monkeypatch, splits, val_size, test_split):
    opened = []

    def create(name, *, root, split, download):
        opened.append(split)
        paths = [shared_folder / "train" / kind / f"{i:02}.png" for kind in ("ant", "bee") for i in range(1)]
        dataset = type("Set", (), {"filename": lambda self, index: f"{index}.png"})()
        dataset.reader = FakeReader(paths, [0, 1], splits)
        return dataset

    monkeypatch.setattr(opening, "create_dataset", create)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    data = open_data("hfds/toy", img_size=16)
    assert opened[0] == "train"
    assert opened[-1] == test_split
    assert (data.info.train_size, data.info.val_size, data.info.test_size) == (2, val_size, 2)
    assert data.info.class_names == ("ant", "bee")
    assert next(data.eval_batches("test", batch_size=2))[1].tolist() == [0, 1]


def test_data_without_a_list_of_labels_are_refused():
    with pytest.raises(DataError, match="toy: does not list its labels"):
        TimmImages("toy", object())


def test_a_row_of_facts_per_image_gives_the_class():
    dataset = type("Set", (), {"targets": torch.tensor([[1, 9], [0, 8]])})()
    assert TimmImages("toy", dataset).labels.tolist() == [1, 0]
    assert TimmImages("toy", dataset).class_names == ("0", "1")


def test_class_folders_list_images_in_the_order_of_names(shared_folder):
    images = class_folders(shared_folder / "train")
    assert images.class_names == ("ant", "bee", "cat")
    assert images.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert images.where(11) == str(shared_folder / "train" / "bee" / "01.png")


def test_class_folders_find_images_below_and_skip_other_files(own_folder):
    inner = own_folder / "train" / "ant" / "more" / "deep"
    inner.mkdir(parents=True)
    shutil.move(own_folder / "train" / "ant" / "03.png", inner / "03.PNG")
    (own_folder / "train" / "ant" / "notes.txt").write_text("x")
    (own_folder / "train" / "ant" / "._00.png").write_text("x")
    (own_folder / "train" / ".hidden").mkdir()
    images = class_folders(own_folder / "train")
    assert len(images.labels) == 30
    assert images.where(9) == str(inner / "03.PNG")


def test_class_folders_follow_links(own_folder):
    shutil.move(own_folder / "train" / "cat", own_folder / "elsewhere")
    (own_folder / "train" / "cat").symlink_to(own_folder / "elsewhere")
    assert class_folders(own_folder / "train").class_names == ("ant", "bee", "cat")


def test_folder_images_tests_on_the_held_out_folder(shared_folder):
    parts = folder_images(shared_folder, val_split=0.1)
    assert len(parts.train.labels) == 30
    assert parts.val is None
    assert len(parts.test.labels) == 9


def test_folder_images_takes_both_val_and_test_as_they_are(own_folder):
    shutil.copytree(own_folder / "val", own_folder / "test")
    (own_folder / "test" / "ant" / "00.png").unlink()
    parts = folder_images(own_folder, val_split=0.0)
    assert (len(parts.val.labels), len(parts.test.labels)) == (9, 8)


def test_a_split_with_some_of_the_classes_has_the_labels_of_the_training_folder(own_folder):
    shutil.rmtree(own_folder / "val" / "ant")
    tested = folder_images(own_folder, val_split=0.0).test
    assert tested.labels.tolist() == [1, 1, 1, 2, 2, 2]
    assert tested.class_names == ("ant", "bee", "cat")


def test_a_folder_without_training_images_can_be_tested_on(own_folder):
    shutil.rmtree(own_folder / "train")
    for folder in (own_folder, own_folder / "val"):
        parts = folder_images(folder, val_split=0.0, for_training=False)
        assert (parts.train, parts.val) == (None, None)
        assert parts.test.class_names == ("ant", "bee", "cat")
        assert len(parts.test.labels) == 9


def test_hidden_things_and_loops_are_no_images(own_folder):
    image = own_folder / "val" / "ant" / "00.png"
    ant = own_folder / "train" / "ant"
    for place in (
        ant / ".ipynb_checkpoints",
        ant / "@eaDir" / "00.png",
        ant / "__MACOSX",
        own_folder / "train" / "@eaDir",
    ):
        place.mkdir(parents=True)
        shutil.copy(image, place / "copy.png")
    shutil.copy(image, ant / "._00.png")
    (ant / "loop").symlink_to("..")
    (ant / "self").symlink_to(".")
    (own_folder / "train" / "around").symlink_to("..")
    before = class_folders(own_folder / "train")
    assert before.class_names == ("ant", "bee", "cat")
    assert before.labels.bincount().tolist() == [10, 10, 10]


def test_links_to_other_folders_are_followed_once(own_folder):
    ant = own_folder / "train" / "ant"
    for link in ("first", "second"):
        (ant / link).symlink_to(own_folder / "val" / "ant")
    (own_folder / "val" / "ant" / "back").symlink_to(ant)
    assert len(images_below(ant)) == 13


def test_odd_names_are_images(own_folder):
    image = own_folder / "val" / "ant" / "00.png"
    names = ("A.JPEG", "ä b.JPG", "new\nline.jpg", "a.jfif")
    for name in names:
        shutil.copy(image, own_folder / "train" / "ant" / name)
    images = class_folders(own_folder / "train")
    assert {*names} < {Path(images.where(index)).name for index in range(len(images.labels))}


def test_predict_and_training_list_the_same_files(own_folder):
    for folder in (own_folder / "train").iterdir():
        (folder / ".hidden").mkdir()
        shutil.copy(own_folder / "val" / "ant" / "00.png", folder / ".hidden")
    (own_folder / "train" / "bee" / "linked").symlink_to(own_folder / "val" / "bee")
    images = class_folders(own_folder / "train")
    expected = [Path(images.where(index)) for index in range(len(images.labels))]
    assert image_files([own_folder / "train"]) == expected


def remove_train(root):
    shutil.rmtree(root / "train")


def remove_val(root):
    shutil.rmtree(root / "val")


def remove_everything(root):
    shutil.rmtree(root)
    root.mkdir()


def empty_train(root):
    shutil.rmtree(root / "train")
    (root / "train").mkdir()


def empty_class(root):
    for path in (root / "train" / "bee").iterdir():
        path.unlink()


def rename_class(root):
    (root / "val" / "bee").rename(root / "val" / "bea")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, r"folder:.*images: no such folder; give the folder that holds train and val"),
        (
            remove_everything,
            r"no training images; expected a folder train.*found no folders; put the images to train on into .*/train",
        ),
        (remove_train, r"no training images; expected a folder train.*found val"),
        (remove_val, r"nothing to test on; expected val, validation or test beside train, found train"),
        (
            empty_train,
            r"train: empty folder; expected one folder per class, found none; put the images of each class into",
        ),
        (
            empty_class,
            r"train/bee: class without images; expected files that end in .*\.png.*found none; add images or",
        ),
        (
            rename_class,
            r"val: 1 of 3 classes are not among the model's; .*3 classes ant, bee, cat, found bea; give the splits",
        ),
    ],
)
def test_folder_images_refuses_damaged_folders(own_folder, damage, words):
    damage(own_folder)
    with pytest.raises(DataError, match=words):
        folder_images(own_folder, val_split=0.0)


def test_folder_images_refuses_a_file(own_folder):
    with pytest.raises(DataError, match="no such folder"):
        folder_images(own_folder / "train" / "ant" / "00.png", val_split=0.0)


@pytest.mark.parametrize("linked", ["val/ant", "val/ant/link.png"])
def test_an_image_of_class_folders_that_is_trained_on_and_held_out_is_warned_of(own_folder, linked):
    trained = own_folder / "train" / "ant"
    if linked.endswith("ant"):
        shutil.rmtree(own_folder / linked)
    (own_folder / linked).symlink_to(trained / "00.png" if linked.endswith("png") else trained)
    number = "1 of 10" if linked.endswith("png") else "10 of 16"
    words = rf"images: {number} images held out are trained on too, the same files .*, the first: .*{linked}.*; results"
    with pytest.warns(RefconvWarning, match=words):
        folder_images(own_folder, val_split=0.0)


def test_one_warning_tells_of_copies_that_are_held_out(own_folder):
    trained, held = own_folder / "train" / "ant", own_folder / "val"
    shutil.copytree(held, own_folder / "test")  # of val and not of train
    shutil.copy(trained / "09.png", held / "bee" / "09.png")
    shutil.copy(trained / "08.png", own_folder / "test" / "cat" / "08.png")
    shutil.copy(trained / "07.png", held / "bee" / "other.png")  # another name
    (trained / "empty.png").touch()
    (held / "ant" / "empty.png").touch()
    (held / "ant" / "away.png").symlink_to(own_folder / "away.png")
    content = bytearray((trained / "06.png").read_bytes())
    content[-1] ^= 1
    (held / "ant" / "06.png").write_bytes(content)  # one bit differs
    words = r"images: 2 of 24 images held out are trained on too, .* or copies, the first: .*/val/bee/09\.png; results"
    with pytest.warns(RefconvWarning, match=words) as warned:
        folder_images(own_folder, val_split=0.0)
    assert len(warned) == 1


def test_only_files_of_one_name_and_size_are_read_for_copies(own_folder, monkeypatch):
    read = []
    monkeypatch.setattr("refconv.data.images._digest", lambda file, most=None: read.append(Path(file).name))
    (own_folder / "val" / "ant" / "00.png").write_bytes(b"other size")
    for name in ("bee", "cat"):
        shutil.rmtree(own_folder / "val" / name)
        (own_folder / "val" / name).mkdir()
        shutil.copy(own_folder / "train" / name / "05.png", own_folder / "val" / name / f"{name}.png")
    shutil.copy(own_folder / "train" / "ant" / "03.png", own_folder / "val" / "ant" / "03.png")
    for number in ("01", "02"):
        (own_folder / "val" / "ant" / f"{number}.png").unlink()
    folder_images(own_folder, val_split=0.0)
    assert {*read} == {"03.png"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_class_folders_of_any_name_have_names_of_utf_8(tmp_path):
    names = [b"caf\xe9", b"caf\xc3\xa9", b"n" * 255]
    for name in names:
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        Image.new("RGB", (4, 4)).save(folder / os.fsdecode(b"\xe9" * 251 + b".png"))
    images = class_folders(tmp_path)
    assert set(images.class_names) == {r"caf\xe9", "café", "n" * 255}
    for index in range(3):
        assert decoded(images, index, "RGB").size == (4, 4)
