"""What the data of several tasks share: missing files name a remedy, text is read, splits are divided."""

import pytest
import torch

from refconv.data import Augmentation
from refconv.data.splits import Parts
from refconv.errors import DataError
from refconv.recipe.recipe import Recipe
from refconv.tasks.detection.layouts import coco_annotations, voc_annotations
from refconv.tasks.image_data import augmentation_of, divided, first_words, listed, missing, read_parts
from refconv.tasks.predicting import image_files
from refconv.tasks.segmentation.masks import open_masks


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_missing_has_a_remedy(kind):
    assert missing(kind, "gone", where="here").remedy
    assert missing(kind, "gone", where="here", remedy="make it").remedy == "make it"


@pytest.mark.parametrize(
    "opened",
    [
        coco_annotations,
        voc_annotations,
        lambda folder: voc_annotations(folder / "nowhere"),
        lambda folder: open_masks(f"masks:{folder}"),
        lambda folder: open_masks(f"voc:{folder}"),
        lambda folder: open_masks(f"cityscapes:{folder}"),
        lambda folder: open_masks(f"masks:{folder / 'nowhere'}"),
        lambda folder: image_files([folder]),
        lambda folder: image_files([folder / "nowhere.png"]),
    ],
    ids=["coco", "voc", "no voc", "masks", "voc masks", "cityscapes", "no masks", "no images", "no image"],
)
def test_an_empty_folder_is_refused_with_a_remedy_in_every_layout(opened, tmp_path):
    with pytest.raises(DataError, match=str(tmp_path)) as caught:
        opened(tmp_path)
    assert caught.value.remedy


def test_lists_are_read_with_and_without_a_byte_order_mark(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"\xef\xbb\xbfa 1\n\nb -1\n")
    assert first_words(tmp_path / "train.txt") == ["a", "b"]


def test_names_are_listed_in_order_and_cut():
    assert (listed(["b", "a"]), listed([10, 9]), listed([])) == ("a, b", "9, 10", "nothing")
    assert listed(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"


def test_parts_are_divided_into_splits(tmp_path):
    parts = read_parts(
        ("train", "val"), lambda name: range(10 if name == "train" else 3), where=tmp_path, val_split=0.2
    )
    assert parts == Parts(range(10), None, range(3))
    held, indices = divided(parts, 0.2, name="here")
    assert (held["val"], held["test"]) == (range(10), range(3))
    assert sorted([*indices["train"].tolist(), *indices["val"].tolist()]) == [*range(10)]
    assert [len(indices[split]) for split in ("train", "val", "test")] == [8, 2, 3]
    held, indices = divided(Parts(range(10), range(4), range(3)), 0.0, name="here")
    assert torch.equal(indices["val"], torch.arange(4))
    assert held["val"] == range(4)


def test_an_augmentation_takes_over_what_a_recipe_says():
    recipe = Recipe(model="m", data="digits", hflip=0.5, aa="original")
    assert augmentation_of(recipe, Augmentation) == Augmentation(hflip=0.5, auto_augment="original")
