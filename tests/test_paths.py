"""``~`` is the home folder wherever a user names a path: on the command line, in files, and in Python."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from PIL import Image

import refconv
from detected_images import BOX
from image_folders import two_classes
from labelled_tables import write_tables
from masked_folders import write_masks
from refconv.cli import main
from refconv.data import open_data
from refconv.data.class_names import read_class_map
from refconv.data.pictures import open_pictures
from refconv.data.scenes import make_scenes
from refconv.data.targets import Wanted
from refconv.engine import Recipe, train
from refconv.models.creation import create_model
from refconv.models.opening import open_model
from refconv.models.weight_files import read_weights
from refconv.paths import expanded, path_of
from refconv.report.writing import read_pair
from refconv.studies import read_study
from refconv.tasks.detection.data import DetectionData
from refconv.tasks.segmentation.masks import open_masks
from small_runs import NETWORK
from small_studies import changed

TABLE = Wanted("labels", one=True)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, from which commands are not run."""
    place, elsewhere = tmp_path / "ada", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"))
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(place))
    monkeypatch.chdir(elsewhere)
    yield place
    assert not [path for path in (*elsewhere.rglob("*"), *place.rglob("*")) if path.name.startswith("~")]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~", "{}"), ("~/x", "{}/x"), ("folder:~/x", "folder:{}/x"), ("local-dir:~", "local-dir:{}"),
        ("file=~/x", "file={}/x"), ("~x", "~x"), ("a/~/b", "a/~/b"), ("folder:a~", "folder:a~"), ("", ""),
        ("~nobody-of-this-name/x", "~nobody-of-this-name/x"), ("two words:~/x", "two words:~/x"),
    ],
)  # fmt: skip
def test_a_home_folder_is_expanded_at_the_start_of_a_path_alone(home, written, meant):
    assert expanded(written) == meant.format(home)


def test_values_keep_their_types(home):
    given = {"a": ["~/x", 3, None], "b": (True, Path("~/y")), "c": {"d": "table:~/z"}}
    meant = {"a": [f"{home}/x", 3, None], "b": (True, home / "y"), "c": {"d": f"table:{home}/z"}}
    assert expanded(given) == meant


def test_a_path_below_a_root_may_begin_at_home(home):
    assert path_of("/root", "~/x") == home / "x"
    assert path_of("~/root", "x") == home / "root/x"


def pictures(home):
    two_classes(home / "x", (12, 9))
    (home / "x/val").rename(home / "x/test")


def arrays(home):
    parts = {f"{kind}_{split}": [0, 1] for kind in "xy" for split in ("train", "test")}
    values = {name: np.array(value) if name[0] == "y" else np.ones((2, 8), np.float32) for name, value in parts.items()}
    (home / "x").mkdir()
    np.savez(home / "x/all.npz", **values)


def coco(home):
    (home / "x/annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (home / f"x/{split}").mkdir()
        Image.new("RGB", (60, 60)).save(home / f"x/{split}/{split}.png")
        x, y, right, bottom = BOX
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [x, y, right - x, bottom - y]}
        image = {"id": 1, "file_name": f"{split}.png", "width": 60, "height": 60}
        content = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "cat"}]}
        (home / f"x/annotations/{split}.json").write_text(json.dumps(content))


def scenes(home):
    make_scenes("~/x", train=2, val=0, test=1, size=32, items=(1, 1), source="digits")


OPENED = {
    "folder": (pictures, "folder:{}", lambda name, root: open_data(name, root=root)),
    "table": (lambda home: write_tables(home / "x"), "table:{}/one.csv",
              lambda name, root: open_data(name, root=root, wanted=TABLE)),
    "arrays": (arrays, "arrays:{}/all.npz", lambda name, root: open_data(name, root=root)),
    "pictures": (pictures, "images:{}", lambda name, root: open_pictures(name, root)),
    "masks": (lambda home: write_masks(home / "x"), "masks:{}", lambda name, root: open_masks(name, root=root)),
    "coco": (coco, "coco:{}", lambda name, root: DetectionData(name, root=root)),
    "scenes": (scenes, "scenes:{}", lambda name, root: open_masks(name, root=root)),
}  # fmt: skip


@pytest.mark.parametrize("kind", OPENED)
@pytest.mark.parametrize(("folder", "root"), [("~/x", None), ("x", "~")], ids=["name", "root"])
def test_data_of_every_form_is_found_at_home(home, kind, folder, root):
    make, name, opened = OPENED[kind]
    make(home)
    opened(name.format(folder), root)


def test_a_table_may_name_images_at_home(home):
    folder = write_tables(home / "x")
    text = (folder / "one.csv").read_text().replace("images/", "~/x/images/")
    (home / "table.csv").write_text(text)
    data = open_data("table:~/table.csv", wanted=TABLE)
    assert data.info.train_size == 32


def test_recipes_expand_every_setting_that_names_a_path(home):
    paths = dict.fromkeys(("data_dir", "checkpoint", "backbone_checkpoint", "class_map", "distill"), "~/x")
    given = {**paths, "model": "local-dir:~/m", "data": "folder:~/d", "model_kwargs": {"file": "~/f"}}
    meant = {**dict.fromkeys(paths, f"{home}/x"), "model": f"local-dir:{home}/m", "data": f"folder:{home}/d"}
    meant["model_kwargs"] = {"file": f"{home}/f"}
    (home / "recipe.toml").write_text(tomli_w.dumps(given))
    for recipe in (Recipe(**given), Recipe.from_toml("~/recipe.toml")):
        assert {name: getattr(recipe, name) for name in meant} == meant


def test_studies_expand_their_paths(home):
    base = {"samples": None, "lr": None, "checkpoint": "~/base.pth"}
    content = changed(base=base, recipe={"data": "folder:~/x", "data_dir": "~/y"})
    (home / "study.toml").write_text(tomli_w.dumps(content))
    study = read_study("~/study.toml")
    recipe = study.recipe(study.architectures[0], study.methods[0], {"lr": 0.01})
    assert (recipe.checkpoint, recipe.data, recipe.data_dir) == (f"{home}/base.pth", f"folder:{home}/x", f"{home}/y")


@pytest.fixture
def run(home):
    """A finished run at home, written by a path that no shell has seen."""
    settings = {"model": NETWORK[1], "model_kwargs": {"width": 0.125}, "data": "digits", "device": "cpu"}
    train(Recipe(**settings, epochs=1, epoch_steps=1, batch_size=16, workers=0), "~/run", show=False)
    assert (home / "run/model/config.json").is_file()
    return settings


def test_models_are_opened_and_written_at_home(home, run):
    for reference in ("~/run", "~/run/model", "local-dir:~/run/model", "~/run/checkpoint.pt"):
        assert open_model(reference).task == "classification"
    model = create_model(run["model"], model_kwargs=run["model_kwargs"], num_classes=10, in_chans=1,
                         checkpoint="~/run")  # fmt: skip
    torch.save(model.state_dict(), home / "x.pth")
    assert read_weights("~/x.pth").keys() == model.state_dict().keys()
    refconv.adopt("~/x.pth", run["model"], "~/adopted", model_kwargs=run["model_kwargs"],
                  preprocessing={"img_size": 8})  # fmt: skip
    refconv.refocus(model)
    refconv.save_adapter(model, "~/adapter.safetensors")
    refconv.load_adapter(create_model("local-dir:~/adopted", pretrained=True), "~/adapter.safetensors")
    assert {path.name for path in home.iterdir()} >= {"adopted", "adapter.safetensors"}


def test_other_files_are_read_at_home(home):
    (home / "classes.csv").write_text("a,0\n")
    read_class_map("~/classes.csv")
    with pytest.raises(refconv.RefconvError, match=str(home / "none")):
        read_pair("~/none")


def test_the_command_line_expands_options_arguments_and_variables(home, monkeypatch, capsys):
    two_classes(home / "images", (12, 9))
    settings = [*NETWORK, "--data=folder:~/images", "--epochs", "1", "--device", "cpu", "-j", "0", "--img-size", "16"]
    assert main(["train", *settings, "--out=~/run"]) == 0
    (home / "recipe.toml").write_text((home / "run/recipe.toml").read_text())
    monkeypatch.setenv("REFCONV_TRAIN_OUT", "~/again")
    assert main(["train", "--recipe=~/recipe.toml", "--data", "folder:images", "--data-dir=~"]) == 0
    assert main(["eval", "~/run", "--data=folder:~/images", "--device", "cpu", "-j", "0"]) == 0
    assert main(["predict", "~/run", "~/images/val", "--device", "cpu", "--out=~/predicted"]) == 0
    assert main(["merge", "~/again/checkpoint.pt", "-o", "~/merged"]) == 0
    assert {path.name for path in home.iterdir()} >= {"run", "again", "predicted", "merged"}
    capsys.readouterr()


def test_groups_of_commands_expand_too(home, capsys):
    assert main(["data", "scenes", "--out=~/x", "--train", "1", "--val", "0", "--test", "1", "--source", "digits"]) == 0
    assert (home / "x/annotations").is_dir()
