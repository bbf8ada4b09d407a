"""From classifiers to detectors and segmenters: two studies, the second from what the methods of the first left."""

import pytest
import torch

from refconv.cli import main
from refconv.models.opening import open_model
from refconv.studies import Comparison, read_study
from refconv.studies.conduct import CompareConfig, compare
from small_studies import changed, write

SETTINGS = {"device": "cpu", "workers": 0, "log_interval": 1000, "eval_interval": 1000}


def classifiers(folder):
    content = changed(
        study={"name": "classifiers", "samples": 500, "seeds": 1, "selection_seeds": 0},
        recipe={"in_chans": 3, "lr": 0.05},
        grid=None,
        architectures={"mobilenet": None, "net": {"model": "test_resnet"}},
    )
    content["study"].pop("selection_seeds")
    return write(folder, content)


def users(folder, task, model, scenes):
    measure = "map" if task == "detection" else "miou"
    content = {
        "study": {"name": "users", "seeds": 1, "samples": 8, "val_split": 0.0, "select_by": measure},
        "recipe": {"task": task, "data": "scenes", "data_dir": str(scenes), "batch_size": 4, "lr": 0.01, **SETTINGS},
        "base": {"backbones": str(folder / "first")},
        "architectures": {"net": {"model": model, "backbone": "test_resnet", "img_size": 64}},
        "methods": {"plain": {}, "refocus": {"method": "plain"}},
    }  # fmt: skip
    (folder / task).mkdir()
    return write(folder / task, content)


@pytest.mark.slow
def test_backbones_go_from_one_study_to_another(tmp_path):
    scenes = tmp_path / "scenes"
    sizes = ("--train", "8", "--val", "2", "--test", "4", "--size", "64", "--source", "digits")
    assert main(["data", "scenes", "--out", str(scenes), *sizes]) == 0
    compare(read_study(classifiers(tmp_path)), tmp_path / "first", CompareConfig(threads=1, show=False))
    for task, model, inside in (
        ("detection", "detector:fcos", "backbone.body"),
        ("segmentation", "smp:FPN", "encoder.model"),
    ):
        out = tmp_path / f"{task}-runs"
        found = compare(read_study(users(tmp_path, task, model, scenes)), out, CompareConfig(threads=1, show=False))
        assert found == Comparison.read(out / "comparison.json")
        assert found.measures[0] in {"map", "miou"}
        assert {cell.method for cell in found.cells} == {"plain", "refocus"}
        assert [base.samples_seen for base in found.bases] == [None]
        for method in ("plain", "refocus"):
            result = open_model(str(out / f"final/net/{method}/seed-0"))
            assert result.recipe.backbone_checkpoint == str(tmp_path / f"first/final/net/{method}/seed-0")
            assert result.recipe.method == "plain"
        starts = [
            open_model(str(tmp_path / f"first/final/net/{method}/seed-0")).model for method in ("plain", "refocus")
        ]
        assert not torch.equal(starts[0].state_dict()["conv1.0.weight"], starts[1].state_dict()["conv1.0.weight"])
        assert any(name == inside for name, _ in result.model.named_modules())
