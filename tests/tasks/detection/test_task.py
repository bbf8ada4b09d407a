"""The task of detection: losses, evaluation, what is refused, predictions, and whole runs."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models.detection.ssd import SSD

from refconv.data import DataInfo
from refconv.data.scenes import make_scenes
from refconv.engine import Recipe, train
from refconv.errors import CheckpointError, DataError, ModelError, RecipeError
from refconv.models.creation import ModelSpec, create_model
from refconv.models.detectors import build_detector
from refconv.models.model_folder import save_model_folder
from refconv.models.opening import open_model
from refconv.process.distributed import Processes
from refconv.tasks.detection.data import DetectionData
from refconv.tasks.detection.evaluation import DetectionEvaluation
from refconv.tasks.detection.task import Detection
from refconv.tasks.model_data import data_for
from refconv.tasks.predicting import predictions
from refconv.tasks.registry import task_of
from run_results import same_result

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)
TASK = Detection()
SMALL = {
    "task": "detection", "model": "detector:ssdlite", "backbone": "test_resnet", "epochs": 2, "batch_size": 4,
    "lr": 0.01, "workers": 0, "device": "cpu", "log_interval": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp("detection") / "scenes"
    make_scenes(out, train=12, val=3, test=5, size=48, items=(1, 3), source="digits")
    return out


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    train(Recipe(**SMALL, data=f"scenes:{scenes}", method="refocus", start="kaiming", space="kernel"), out, show=False)
    return out


class Knowing(nn.Module):
    """A detector that looks the truth up by the image's sum; ``share`` of it, and with masks if asked for."""

    def __init__(self, data, splits=("test",), share=1.0, masks=False):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.share, self.masks = share, masks
        self.known = {}
        for split in splits:
            for images, targets in data.eval_batches(split, batch_size=4):
                self.known |= {float(image.sum()): target for image, target in zip(images, targets, strict=True)}

    def forward(self, images, targets=None):
        if self.training:
            return {"boxes": self.weight + 2.0, "classes": self.weight.square() + len(images)}
        return [self._output(self.known[float(image.sum())]) for image in images]

    def _output(self, target):
        count = round(self.share * len(target["labels"]))
        output = {name: target[name][:count] for name in ("boxes", "labels")}
        output["scores"] = torch.linspace(0.9, 0.5, count)
        if self.masks:
            output["masks"] = target["masks"][:count, None].float()
        return output


def test_all_that_is_known_is_found(scenes):
    data = DetectionData(f"scenes:{scenes}")
    found = TASK.evaluate(Knowing(data), data, "test", batch_size=2)
    assert (found.samples, found.map, found.map50, found.map_small, found.recall) == (5, 1.0, 1.0, 1.0, 1.0)
    assert found.per_class.keys() == set("0123456789")
    assert set(found.per_class.values()) <= {1.0, None}
    assert None in found.per_class.values()  # five images do not show every class
    assert (found.map_large, found.mask_map) == (None, None)
    assert 0 < found.baseline_map < 1
    assert found.measures().keys() == {"map", "map50", "map75", "map_small", "baseline_map", "recall"} | (
        {"map_medium"} if found.map_medium is not None else set()
    )
    assert str(found) == "mAP 100.00%  mAP50 100.00%  mAP75 100.00%  on 5 images"
    assert DetectionEvaluation.from_json(found.to_json()) == found


def test_less_is_found_by_one_that_knows_half(scenes):
    data = DetectionData(f"scenes:{scenes}")
    half = TASK.evaluate(Knowing(data, share=0.5), data, "test", batch_size=3)
    assert 0.1 < half.map < 0.9
    assert TASK.evaluate(Knowing(data, share=0.0), data, "test", batch_size=3).map == 0.0


def test_masks_are_judged_where_model_and_data_have_them(scenes):
    data = DetectionData(f"scenes:{scenes}", masks=True)
    found = TASK.evaluate(Knowing(data, masks=True), data, "test", batch_size=2)
    assert (found.mask_map, found.mask_map50, found.mask_map75) == (1.0, 1.0, 1.0)
    assert found.mask_per_class.keys() == found.per_class.keys()
    assert "mask mAP 100.00%" in str(found)
    assert TASK.evaluate(Knowing(data), data, "test", batch_size=2).mask_map is None


@pytest.mark.parametrize("world_size", [2, 4, 7])
def test_shares_of_several_processes_give_the_whole(scenes, world_size):
    # With seven processes for five images two of them have none.
    data = DetectionData(f"scenes:{scenes}", masks=True)
    model = Knowing(data, share=0.5, masks=True)
    expected = TASK.evaluate(model, data, "test", batch_size=2)
    shares = []

    class Gathering(Processes):
        def gathered(self, value):
            shares.append(value)
            return shares

    found = [
        TASK.evaluate(model, data, "test", batch_size=2, processes=Gathering(rank, world_size, CPU))
        for rank in range(world_size)
    ]
    assert sum(map(len, shares)) == 5
    assert found[-1] == expected


def test_the_loss_is_the_sum_of_the_detectors_losses(scenes):
    data = DetectionData(f"scenes:{scenes}")
    model = Knowing(data).train()
    recipe = Recipe(**SMALL, data=f"scenes:{scenes}")
    objective = TASK.objective(recipe, data.info, ALONE, part_size=4)
    loss = objective(model, [torch.zeros(3, 48, 48)] * 3, [])
    torch.testing.assert_close(loss.detach(), torch.tensor(5.0))
    loss.backward()
    torch.testing.assert_close(model.weight.grad, torch.tensor(1.0))
    with pytest.raises(ModelError, match="returns no losses in training; .*found a list of 1, first a dictionary of"):
        objective(lambda images, targets: [{"boxes": 0}], [], [])


def test_a_detector_is_tried_in_training_mode_before_anything_is_written(scenes, tmp_path, monkeypatch):
    forward = SSD.forward

    def pair(self, images, targets=None):
        found = forward(self, images, targets)
        return (found, found) if self.training else found

    monkeypatch.setattr(SSD, "forward", pair)
    with pytest.raises(
        ModelError, match="SSD: the model returns no losses in training; .*found a list of 2, first a dic"
    ):
        train(Recipe(**SMALL, data=f"scenes:{scenes}"), tmp_path / "run", show=False)
    assert not (tmp_path / "run/checkpoint.pt").exists()


def test_losses_of_parts_of_a_batch_are_warned_of_where_they_are_not_the_whole_ones(scenes, tmp_path, capsys):
    recipe = Recipe(**{**SMALL, "epochs": 1}, data=f"scenes:{scenes}", grad_accum_steps=2, epoch_steps=1)
    train(recipe, tmp_path / "run")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert said == [
        "warning: SSD divides its losses by the matched anchors of one forward pass, so with --grad-accum-steps 2 a "
        "step is the mean of its parts' losses, not the loss of the whole batch"
    ]
    heads = {
        head: build_detector(head, num_classes=2, backbone="test_resnet", img_size=64) for head in ("fcos", "retinanet")
    }
    assert [TASK.warning(model, recipe) is None for model in heads.values()] == [False, True]
    assert TASK.warning(heads["fcos"], replace(recipe, grad_accum_steps=1)) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "resnet18"}, "model = resnet18: is not a detector; .*--model detector:ssdlite --backbone resnet18"),
        ({"model": "torchvision:resnet18"}, "model = torchvision:resnet18: is not a detector"),
        ({"mixup": 0.2}, "mixup: has no effect in detection: boxes of mixed images"),
        ({"cutmix": 0.2}, "cutmix: has no effect in detection"),
        ({"smoothing": 0.1}, "smoothing: has no effect in detection: the detector brings its own loss"),
        ({"distill": "resnet18"}, "distill: has no effect in detection: detectors give boxes"),
        ({"aa": "rand-m9"}, "aa: has no effect in detection"),
        ({"re_prob": 0.1}, "re_prob: has no effect in detection"),
        ({"drop": 0.1}, "drop: has no effect in detection"),
        ({"noise": 25.0}, "noise: has no effect in detection: it is for restoration"),
        ({"in_chans": 1}, "in_chans: detectors take colour images; expected 3, found 1"),
        (
            {"model": "a.b:c", "backbone": None, "img_size": 64},
            "img_size: has no effect in detection: a.b:c normalises",
        ),
        ({"model": "torchvision:fcos_resnet50_fpn"}, "backbone: has no effect in detection: only detector:HEAD"),
    ],
)
def test_settings_without_effect_are_refused(settings, words, scenes):
    recipe = Recipe(**{**SMALL, "data": f"scenes:{scenes}", **settings})
    with pytest.raises(RecipeError, match=words):
        task_of(recipe).open_data(recipe)


def test_one_number_normalises_every_channel(scenes):
    recipe = Recipe(**SMALL, data=f"scenes:{scenes}", mean=(0.5,), std=(0.25,))
    info = task_of(recipe).open_data(recipe).info
    assert (info.mean, info.std) == ((0.5,) * 3, (0.25,) * 3)
    with pytest.raises(
        DataError, match="mean of .*: wrong number of values; expected 1 or 3, one per channel, found 2"
    ):
        task_of(recipe).open_data(replace(recipe, mean=(0.5, 0.5)))


def test_a_classifier_is_no_detector(scenes, tmp_path):
    recipe = Recipe(**{**SMALL, "model": f"{__name__}:boxless", "backbone": None}, data=f"scenes:{scenes}")
    with pytest.raises(ModelError, match=r"the model is not a detector; .*found \[2\]") as raised:
        train(recipe, tmp_path / "run", show=False)
    assert "\n" not in str(raised.value)


def boxless(num_classes=1) -> nn.Module:
    """Return a model that takes images and gives one number each."""

    class Boxless(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, images, targets=None):
            return torch.stack([self.weight * image.mean() for image in images])

    return Boxless()


def test_the_head_is_all_but_the_classifiers_part():
    for head in ("ssdlite", "fasterrcnn"):
        model = build_detector(head, num_classes=2, backbone="test_resnet", img_size=128)
        names = TASK.head_names(model)
        assert {name for name in model.state_dict() if name not in names} == {
            name for name in model.state_dict() if name.startswith("backbone.body.")
        }
        assert any(name.startswith(("backbone.extra", "backbone.fpn")) for name in names)
    model = create_model("torchvision:ssdlite320_mobilenet_v3_large", num_classes=2)
    assert not any(name.startswith("backbone.features.") for name in TASK.head_names(model))
    with pytest.raises(ModelError, match="cannot tell the model's head from its backbone"):
        TASK.head_names(boxless())


def classifier_folder(folder, mean):
    info = DataInfo("x", 4, 3, (3, 32, 32), mean, (0.5, 0.25, 0.125), ("a", "b", "c", "d"), 1, 0, 0)
    model = create_model("test_resnet", num_classes=4)
    save_model_folder(folder, model.state_dict(), name="test_resnet", info=info, model_kwargs={})
    return model


def test_a_classifiers_backbone_brings_its_normalisation(scenes, tmp_path):
    classifier = classifier_folder(tmp_path / "classifier", (0.1, 0.2, 0.3))
    settings = {
        **SMALL, "data": f"scenes:{scenes}", "backbone_checkpoint": str(tmp_path / "classifier"), "lr": 0.0,
        "epochs": 1,
    }  # fmt: skip
    train(Recipe(**settings), tmp_path / "run", show=False)
    opened = open_model(str(tmp_path / "run"))
    assert opened.model.transform.image_mean == [0.1, 0.2, 0.3]
    assert opened.model.transform.image_std == [0.5, 0.25, 0.125]
    body = opened.model.backbone.body.state_dict()
    torch.testing.assert_close(body["layer1.0.conv1.weight"], classifier.state_dict()["layer1.0.conv1.weight"])
    recipe = Recipe(**{**settings, "mean": (0.4, 0.5, 0.6), "std": (1.0, 1.0, 1.0)})
    info = TASK.open_data(recipe).info
    assert ModelSpec.of_run(recipe, info).model_kwargs["image_mean"] == [0.4, 0.5, 0.6]
    with pytest.raises(CheckpointError, match="gone: no such file, run or model folder"):
        TASK.open_data(Recipe(**{**settings, "backbone_checkpoint": str(tmp_path / "gone")}))


def test_a_run_ships_a_plain_detector_that_evaluates_and_predicts(run, scenes, tmp_path):
    config = json.loads((run / "model/config.json").read_text())
    assert (config["architecture"], config["task"], config["num_classes"]) == ("detector:ssdlite", "detection", 10)
    assert config["model_args"] == {"img_size": 48, "backbone": "test_resnet", "in_chans": 3}
    record = json.loads((run / "record.json").read_text())
    assert record["certificate"]["relative_output_difference"] < 1e-5
    opened = open_model(str(run))
    data = data_for(opened)
    found = TASK.evaluate(opened.model, data, "test", batch_size=4)
    assert found.measures() == pytest.approx(record["measures"], abs=1e-6)
    moved = data_for(opened, f"voc:{scenes}/voc")
    assert moved.info.class_names == data.info.class_names
    file = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8)).save(file)
    [(_, said)] = predictions(opened, [file], device=CPU, threshold=0.0)
    objects = said.content["objects"]
    assert objects
    assert [entry["score"] for entry in objects] == sorted((entry["score"] for entry in objects), reverse=True)
    assert {entry["name"] for entry in objects} <= set("0123456789")
    assert all(entry["name"] == str(entry["class"]) for entry in objects)
    assert all(0 <= entry["box"][0] <= entry["box"][2] <= 60 and entry["box"][3] <= 40 for entry in objects)
    json.dumps(said.content)
    assert said.picture.size == (300, 200)  # enlarged, to be legible
    [(_, none)] = predictions(opened, [file], device=CPU, threshold=1.0)
    assert (none.content, none.words) == ({"objects": []}, "nothing above the minimum score")


def test_data_with_other_classes_is_refused(run, scenes, tmp_path):
    (tmp_path / "annotations").mkdir()
    annotations = json.loads((scenes / "annotations/instances_test.json").read_text())
    annotations["categories"].append({"id": 99, "name": "drei"})  # as many classes would be taken by their numbers
    for split in ("train", "val", "test"):
        (tmp_path / f"annotations/instances_{split}.json").write_text(json.dumps(annotations))
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / f"images/{split}").symlink_to(scenes / "images/test")
    with pytest.raises(DataError, match="1 of 11 classes are not among the model's; .*found drei; give --class-map"):
        data_for(open_model(str(run)), f"coco:{tmp_path}")
    with pytest.raises(DataError, match="img_size: a detector resizes and normalises images itself"):
        data_for(open_model(str(run), flags={"img_size": 96}))


def test_an_interrupted_run_goes_on_exactly(scenes, tmp_path, monkeypatch):
    from refconv.engine.epochs import Loop

    settings = {
        **SMALL, "data": f"scenes:{scenes}", "method": "refocus", "hflip": 0.5, "scale": (0.5, 1.0),
        "checkpoint_interval": 2, "val_split": 0.0,
    }  # fmt: skip
    train(Recipe(**settings), tmp_path / "whole", show=False)
    log = Loop._log

    class StopError(Exception):
        pass

    def stopping(self, *_):
        if self.step == 5:
            raise StopError
        return log(self)

    monkeypatch.setattr(Loop, "_log", stopping)
    with pytest.raises(StopError):
        train(Recipe(**settings), tmp_path / "stopped", show=False)
    monkeypatch.setattr(Loop, "_log", log)
    train(Recipe(**settings), tmp_path / "stopped", resume=True, show=False)
    same_result(tmp_path / "whole", tmp_path / "stopped")


def test_a_mask_detector_predicts_masks(tmp_path):
    quick = {"width": 32, "rpn_post_nms_top_n_test": 8, "box_score_thresh": 0.0}
    info = DataInfo("x", 2, 3, (3, 64, 64), (0,) * 3, (1,) * 3, ("cat", "dog"), 1, 0, 0)
    arguments = {"backbone": "test_resnet", "img_size": 64, **quick}
    model = create_model("detector:maskrcnn", num_classes=2, model_kwargs=arguments)
    save_model_folder(
        tmp_path / "model",
        model.state_dict(),
        name="detector:maskrcnn",
        info=info,
        model_kwargs=arguments,
        task="detection",
    )
    file = tmp_path / "image.png"
    Image.new("RGB", (50, 40), "red").save(file)
    [(_, said)] = predictions(open_model(str(tmp_path / "model")), [file], device=CPU, threshold=0.0)
    assert said.content["objects"]
    assert all(0 <= entry["area"] <= 50 * 40 and entry["name"] in {"cat", "dog"} for entry in said.content["objects"])


TRAINING = """
import sys, torch
from refconv.engine import Recipe, train
torch.set_num_threads(1)
train(Recipe.from_toml(sys.argv[1]), sys.argv[2], show=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("head", ["ssdlite", "maskrcnn", "fcos"])
def test_two_processes_train_and_evaluate_like_one(head, scenes, tmp_path):
    (tmp_path / "script.py").write_text(TRAINING)
    settings = {
        **SMALL, "model": f"detector:{head}", "data": f"scenes:{scenes}", "method": "refocus", "epochs": 1,
        "model_kwargs": {} if head == "ssdlite" else {"width": 32},
    }  # fmt: skip
    (tmp_path / "recipe.toml").write_text(Recipe(**settings).to_toml())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    finished = subprocess.run(
        [*torchrun, tmp_path / "script.py", tmp_path / "recipe.toml", tmp_path / "run"],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    record = json.loads((tmp_path / "run/record.json").read_text())
    assert (record["processes"], record["test_samples"]) == (2, 5)
    opened = open_model(str(tmp_path / "run"))
    alone = TASK.evaluate(opened.model, data_for(opened), "test", batch_size=4)
    assert alone.measures() == pytest.approx(record["measures"], abs=1e-6)
