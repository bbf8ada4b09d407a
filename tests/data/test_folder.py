"""Tests of refconv.data.folder."""

import shutil
from pathlib import Path

import pytest

from refconv.data.folder import class_folders, folder_images, images_below
from refconv.errors import DataError
from refconv.tasks.predicting import image_files


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
        (remove_everything, r"no training images; expected a folder train.*found no folders"),
        (remove_train, r"no training images; expected a folder train.*found val"),
        (remove_val, r"nothing to test on; expected val, validation or test beside train, found train"),
        (empty_train, r"train: empty folder; expected one folder per class, found none"),
        (empty_class, r"train/bee: class without images; expected files that end in .*\.png.*found none"),
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
