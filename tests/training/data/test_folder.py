"""Tests of refconv.training.data.folder."""

import shutil

import pytest

from refconv.errors import DataError
from refconv.training.data.folder import class_folders, folder_images


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


def remove_class(root):
    shutil.rmtree(root / "val" / "bee")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, r"folder:.*images: no such folder; give the folder that holds train and val"),
        (remove_everything, r"no training images; expected a folder train.*found no folders"),
        (remove_train, r"no training images; expected a folder train.*found val"),
        (remove_val, r"nothing to test on; expected val, validation or test beside train, found train"),
        (empty_train, r"train: empty folder; expected one folder per class, found none"),
        (empty_class, r"train/bee: class without images; expected files that end in .*\.png.*found none"),
        (rename_class, r"different classes; .*in train and val, found only in train: bee and only in val: bea"),
        (remove_class, r"different classes; .*found only in train: bee$"),
    ],
)
def test_folder_images_refuses_damaged_folders(own_folder, damage, words):
    damage(own_folder)
    with pytest.raises(DataError, match=words):
        folder_images(own_folder, val_split=0.0)


def test_folder_images_refuses_a_file(own_folder):
    with pytest.raises(DataError, match="no such folder"):
        folder_images(own_folder / "train" / "ant" / "00.png", val_split=0.0)
