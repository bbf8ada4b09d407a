"""Tests of refconv.data.opening."""

import pytest
import torch
from PIL import Image

from refconv.data import Augmentation, open_data
from refconv.errors import DataError, SettingError


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digit", "digit: unknown data; expected digits$"),
        ("fashion_mnist", "expected fashion-mnist"),
        ("MNIST1D", "expected mnist1d"),
        ("zzz", "expected digits, fashion-mnist, mnist1d, folder:PATH, torch/NAME, hfds/NAME"),
        ("nosuch/thing", "unknown data"),
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
