"""Data for an opened model has the size, channels and normalisation of its training."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from refconv.data import open_data
from refconv.data.class_names import UNNAMED
from refconv.data.preprocessing import Statement
from refconv.errors import DataError, SettingError
from refconv.models.opening import Opened, open_model
from refconv.tasks.model_data import classes_of, data_for, first_samples, random_input
from refconv.tasks.registry import task_named
from run_checkpoints import save_run, small_recipe


@pytest.mark.parametrize("which", ["", "checkpoint.pt", "model"])
def test_data_for_prepares_as_in_training(tmp_path, which):
    save_run(tmp_path / "run", small_recipe())
    data = data_for(open_model(str(tmp_path / "run" / which)), "digits")
    plain = open_data("digits", mean=(0.3,), std=(0.4,))
    assert torch.equal(first_samples(data, 7), first_samples(plain, 7))
    assert data.info.input_size == (1, 8, 8)


def test_data_for_takes_the_runs_own_data_and_settings(tmp_path):
    save_run(tmp_path / "run", small_recipe(img_size=12, val_split=0.1, mean=(0.5,), std=(0.2,)))
    info = data_for(open_model(str(tmp_path / "run"))).info
    assert (info.name, info.input_size, info.val_size) == ("digits", (1, 12, 12), 144)
    assert (info.mean, info.std) == ((0.5,), (0.2,))
    assert data_for(open_model(str(tmp_path / "run"), flags={"img_size": 16})).info.input_size == (1, 16, 16)


def test_data_for_asks_for_data(tmp_path):
    save_run(tmp_path / "run", small_recipe())
    with pytest.raises(DataError, match="no data set given; give --data"):
        data_for(open_model(str(tmp_path / "run" / "model")))
    with pytest.raises(DataError, match="unknown data"):
        data_for(open_model(str(tmp_path / "run")), "digitz")


def test_data_of_a_run_that_was_given_loaders_are_asked_for(tmp_path):
    save_run(tmp_path / "run", small_recipe())
    opened = open_model(str(tmp_path / "run"))
    given = dataclasses.replace(opened, recipe=dataclasses.replace(opened.recipe, data="TensorDataset"))
    with pytest.raises(DataError, match="TensorDataset: unknown data; name its data by --data, in Python data: a run"):
        data_for(given)


def test_random_input_has_the_models_shape_and_is_the_same_each_time(tmp_path):
    save_run(tmp_path / "run", small_recipe())
    opened = open_model(str(tmp_path / "run"))
    assert random_input(opened, 5).shape == (5, 1, 8, 8)
    assert torch.equal(random_input(opened, 5), random_input(opened, 5))
    assert random_input(open_model("test_resnet"), 2).shape == (2, 3, 160, 160)
    assert random_input(dataclasses.replace(opened, stated=Statement("the model", {})), 2).shape == (2, 1, 8, 8)


def test_random_input_says_when_the_shape_is_unknown():
    with pytest.raises(DataError, match="shape of the model's input is not known; give --data"):
        random_input(Opened(torch.nn.Conv2d(1, 1, 1), "own:net", {}), 2)


def test_data_for_takes_a_folder_that_timm_wrote(tmp_path):
    save_for_hf(timm.create_model("test_resnet", num_classes=10, in_chans=1), tmp_path, safe_serialization=True)
    opened = open_model(str(tmp_path))
    assert opened.stated.values["crop_pct"] < 1
    assert data_for(opened, "digits").info.input_size == (1, 160, 160)


def test_data_for_crops_images_on_disk_as_in_training(tmp_path):
    for split, name in itertools.product(("train", "val"), ("cat", "dog")):
        (tmp_path / split / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (255, 0, 0)).save(tmp_path / split / name / "a.png")
        picture = Image.new("RGB", (32, 32))
        picture.paste((255, 255, 255), (8, 8, 24, 24))
        picture.save(tmp_path / split / name / "b.png")
    known = {"input_size": (3, 16, 16), "mean": (0.0,) * 3, "std": (1.0,) * 3, "interpolation": "bilinear"}
    opened = Opened(
        torch.nn.Identity(),
        "x",
        {"in_chans": 3, "num_classes": 2},
        None,
        Statement("the model", {**known, "crop_pct": 0.5}),
    )
    samples = first_samples(data_for(opened, f"folder:{tmp_path}"), 4)
    assert samples[1].min() > 0.99  # the middle half of the picture is white
    whole = dataclasses.replace(opened, stated=Statement("the model", {**known, "crop_pct": 1.0}))
    assert first_samples(data_for(whole, f"folder:{tmp_path}"), 4)[1].min() == 0


def write_classes(folder, names):
    """Write one grey image per class: its brightness is 40 times the place of the class in the alphabet."""
    for name in names:
        (folder / name).mkdir(parents=True)
        Image.new("L", (8, 8), 40 * "abcdef".index(name[0])).save(folder / name / "0.png")


def labels_of(data, split="test"):
    return next(labels.tolist() for _, labels in data.eval_batches(split, batch_size=9))


def classifier(names=(), outputs=4):
    model = timm.create_model("test_resnet", num_classes=outputs, in_chans=1)
    arguments = {"num_classes": outputs, "in_chans": 1}
    return Opened(model, "test_resnet", arguments, class_names=names, flags={"img_size": 8})


def test_classes_of_the_data_are_those_of_the_model_by_name(tmp_path):
    write_classes(tmp_path, ("dog", "ant"))
    data = data_for(classifier(("dog", "cat", "bee", "ant")), f"folder:{tmp_path}")
    assert labels_of(data) == [3, 0]  # the folders in the order of their names: ant, dog
    assert (data.info.num_classes, data.info.class_names) == (4, ("dog", "cat", "bee", "ant"))
    assert str(data.matching) == "2 of 4 classes, matched by name: ant is 3, dog is 0"


def test_classes_that_are_the_models_stay_as_they_are(tmp_path):
    write_classes(tmp_path, ("ant", "bee"))
    data = data_for(classifier(("ant", "bee"), 2), f"folder:{tmp_path}")
    assert data.matching is None
    assert labels_of(data) == [0, 1]


def test_classes_matched_by_position_are_said(tmp_path):
    write_classes(tmp_path, ("ant", "bee"))
    said = data_for(classifier((), 2), f"folder:{tmp_path}").said
    assert said[1] == f"classes: {UNNAMED}"
    assert len(data_for(classifier(("ant", "bee"), 2), f"folder:{tmp_path}").said) == 1


def test_classes_of_an_imagenet_network_are_known_by_their_synsets(tmp_path):
    for name in ("n02123045", "n01440764_tench"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "0.png")
    assert labels_of(data_for(classifier((), 1000), f"folder:{tmp_path}")) == [0, 281]


def test_classes_that_are_not_the_models_are_refused_or_mapped(tmp_path):
    write_classes(tmp_path / "images", ("ant", "dachshund"))
    opened = classifier(("ant", "bee", "cat", "dog"))
    with pytest.raises(DataError, match=r"1 of 2 classes .*ant, bee, cat, dog, found dachshund; give --class-map FILE"):
        data_for(opened, f"folder:{tmp_path / 'images'}")
    with pytest.raises(DataError, match="expected 4 classes, as the model has outputs, whose names are not known"):
        data_for(classifier(), f"folder:{tmp_path / 'images'}")
    (tmp_path / "map.csv").write_text("dachshund,dog\n")
    data = data_for(opened, f"folder:{tmp_path / 'images'}", class_map=str(tmp_path / "map.csv"))
    assert labels_of(data) == [0, 3]


def test_who_looks_at_samples_only_needs_no_classes(tmp_path):
    write_classes(tmp_path, ("ant",))
    assert len(first_samples(data_for(classifier(), f"folder:{tmp_path}", labelled=False), 3)) == 1


def write_boxes(folder, names):
    """Write COCO's layout: one image a split with one object of each class, in the order of the names."""
    (folder / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(folder / "images" / split / "0.png")
        numbers = range(1, len(names) + 1)
        content = {
            "images": [{"id": 1, "file_name": "0.png", "height": 32, "width": 32}],
            "categories": [{"id": i, "name": name} for i, name in zip(numbers, names, strict=True)],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": i, "bbox": [i, i, 8, 8], "area": 64, "iscrowd": 0}
                for i in numbers
            ],
        }
        (folder / f"annotations/instances_{split}.json").write_text(json.dumps(content))
    return f"coco:{folder}"


def write_maps(folder, names):
    """Write one mask a split with a column of each class in the order of the names, and one of ignored pixels."""
    pixels = np.repeat(np.array([[*range(len(names)), 255]], dtype=np.uint8), len(names) + 1, axis=0)
    for split in ("train", "test"):
        for kind, image in (("images", Image.new("RGB", pixels.shape)), ("masks", Image.fromarray(pixels))):
            (folder / kind / split).mkdir(parents=True)
            image.save(folder / kind / split / "0.png")
    (folder / "classes.txt").write_text("\n".join(names))
    return f"masks:{folder}"


def detector(names=(), outputs=3):
    return Opened(torch.nn.Identity(), "detector:x", {"num_classes": outputs}, task="detection", class_names=names)


def segmenter(names=(), outputs=3):
    arguments = {"num_classes": outputs}
    return Opened(torch.nn.Identity(), "smp:x", arguments, task="segmentation", class_names=names)


def classes_in(data):
    """Return the classes of the boxes, counted from 0, or those of the columns of the masks."""
    ((_, targets),) = data.eval_batches("train", batch_size=1)
    return targets[0, 0].tolist() if torch.is_tensor(targets) else (targets[0]["labels"] - 1).tolist()


@pytest.mark.parametrize(
    ("model", "write", "ignored"), [(detector, write_boxes, []), (segmenter, write_maps, [255])], ids=["boxes", "masks"]
)
def test_classes_of_boxes_and_masks_are_those_of_the_model_by_name(tmp_path, model, write, ignored):
    opened = model(("cat", "bee", "ant"))
    data = data_for(opened, write(tmp_path / "a", ("ant", "cat")))
    assert classes_in(data) == [2, 0, *ignored]
    assert (data.info.num_classes, data.info.class_names) == (3, ("cat", "bee", "ant"))
    assert data.said[1] == "classes: 2 of 3 classes, matched by name: ant is 2, cat is 0"
    other = write(tmp_path / "b", ("ant", "Tier"))
    with pytest.raises(DataError, match="1 of 2 classes are not among the model's; .*found Tier; give --class-map"):
        data_for(opened, other)
    (tmp_path / "map.csv").write_text("Tier,bee\n")
    assert classes_in(data_for(opened, other, class_map=str(tmp_path / "map.csv"))) == [2, 1, *ignored]
    assert classes_in(data_for(opened, other, labelled=False)) == [0, 1, *ignored]
    unnamed = data_for(model(), other)
    assert classes_in(unnamed) == [0, 1, *ignored]
    assert unnamed.said[1].startswith("classes: the model's class names are not known; the data's are used")


def test_a_class_never_becomes_the_number_of_ignored_pixels(tmp_path):
    opened = segmenter(("cat", "bee", "ant"))
    data = data_for(opened, write_maps(tmp_path, ("ant", "cat")), labelled=False)
    data.ignore_index = 0  # of ant
    with pytest.raises(
        DataError, match="a class of the model has the number of ignored pixels; .*found ignore_index=0"
    ):
        data.with_classes(classes_of(opened))


def test_classes_that_the_data_has_not_have_no_overlap_and_count_as_wrong(tmp_path):
    class Constant(torch.nn.Module):
        def forward(self, images):
            maps = torch.zeros(len(images), 3, *images.shape[-2:])
            maps[:, 2, :, : images.shape[-1] // 2] = 1  # ant on the left, bee on the right
            maps[:, 1, :, images.shape[-1] // 2 :] = 1
            return maps

    opened = segmenter(("cat", "bee", "ant"))
    data = data_for(opened, write_maps(tmp_path, ("ant", "cat")))
    found = task_named("segmentation").evaluate(Constant(), data, "test", batch_size=1, device=torch.device("cpu"))
    assert found.class_iou == {"cat": 0.0, "bee": None, "ant": 1.0}
    assert found.measures()["miou"] == 0.5


def test_there_is_no_class_map_where_there_are_no_classes(tmp_path):
    stated = {"noise": 25.0, "upscale": 1}
    opened = Opened(
        torch.nn.Identity(), "x", {"in_chans": 3}, task="restoration", stated=Statement("the model", stated)
    )
    with pytest.raises(SettingError, match="--class-map: the task has no classes to match; found restoration"):
        data_for(opened, "photographs", class_map="map.csv")
    (tmp_path / "map.csv").write_text("ant,0\n")
    with pytest.raises(SettingError, match="--class-map: it is not known which classes the model has"):
        data_for(detector(outputs=None), write_boxes(tmp_path, ("ant", "bee")), class_map=str(tmp_path / "map.csv"))
