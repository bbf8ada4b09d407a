"""docs/integrations/ultralytics.md, run and checked; and what its trainers do in between."""

import copy
import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import refconv
from integration_pages import MARKS, run_page
from refconv.errors import CheckpointError, LayerError, ModelError, SettingError
from refconv.surgery.places import places

pytestmark = MARKS

CLASSES = ("red", "blue")
#: Half of the number of ultralytics' own "n", so that networks are small.
TINY = {"scales": {"n": [0.5, 0.125, 1024]}, "nc": len(CLASSES)}
QUICK = {"epochs": 2, "batch": 16, "nbs": 16, "warmup_epochs": 0, "device": "cpu", "verbose": False}


@pytest.fixture(scope="session", autouse=True)
def settings(tmp_path_factory):
    """Let ultralytics keep its settings in a folder of this run, and neither install nor download anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("settings")))
        patch.setenv("YOLO_OFFLINE", "true")
        patch.setenv("YOLO_AUTOINSTALL", "false")
        from ultralytics import settings

        settings.update({"runs_dir": "runs"})  # in the current folder, also where the environment lies in a repository
        yield


def write_scenes(folder, data="data.yaml"):
    """Write images of 64 x 64 px with two rectangles each, red or blue, in the layout of ultralytics."""
    draw = np.random.default_rng(0)
    for split, number in (("train", 64), ("val", 8)):
        images, labels = (folder / "scenes" / kind / split for kind in ("images", "labels"))
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(number):
            pixels, lines = draw.integers(0, 60, (64, 64, 3), dtype=np.uint8), []
            for _ in range(2):
                kind, (w, h) = int(draw.integers(len(CLASSES))), draw.integers(12, 28, 2)
                x, y = draw.integers(0, 64 - w), draw.integers(0, 64 - h)
                pixels[y : y + h, x : x + w] = ((220, 40, 40), (40, 40, 220))[kind]
                lines.append(f"{kind} {(x + w / 2) / 64} {(y + h / 2) / 64} {w / 64} {h / 64}\n")
            Image.fromarray(pixels).save(images / f"{index}.png")
            (labels / f"{index}.txt").write_text("".join(lines), encoding="utf-8")
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASSES))
    text = f"path: {folder / 'scenes'}\ntrain: images/train\nval: images/val\nnames:\n{names}"
    (folder / data).write_text(text, encoding="utf-8")


def write_yolo(file, name="yolo11n", task="detect"):
    """Write a network as ultralytics publishes them: in half precision, nothing that requires gradients."""
    from ultralytics import YOLO
    from ultralytics.nn import tasks
    from ultralytics.nn.tasks import yaml_model_load

    torch.manual_seed(0)
    yolo = YOLO(f"{name}.yaml")
    made = getattr(tasks, type(yolo.model).__name__)(
        {**yaml_model_load(f"{name}.yaml"), **TINY, "scale": "n"}, verbose=False
    )
    yolo.model = made.requires_grad_(False)
    made.names, made.args = dict(enumerate(CLASSES)), {"imgsz": 64}
    yolo.ckpt = {"train_args": {"imgsz": 64, "task": task}}
    yolo.save(file)
    return file


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with data and a network, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ultralytics.cfg.TESTS_RUNNING", False)  # it would write beside its own source
    monkeypatch.setattr("ultralytics.utils.DEFAULT_CFG.plots", False)
    write_scenes(tmp_path)
    write_yolo(tmp_path / "yolo11n.pt")
    return tmp_path


def trainer(space, base="DetectionTrainer", **attributes):
    from ultralytics.models import yolo

    from refconv.ultralytics import Refocused

    (own,) = [getattr(part, base) for part in (yolo.detect, yolo.classify, yolo.segment) if hasattr(part, base)]
    return type("Trainer", (Refocused, own), {"space": space, **attributes})


def train(space, *, file="yolo11n.pt", base="DetectionTrainer", attributes=None, **settings):
    """Train a network; return the YOLO that trained it."""
    from ultralytics import YOLO

    yolo = YOLO(file)
    given = {**QUICK, "data": "data.yaml", "optimizer": "SGD", "name": space, "exist_ok": True, **settings}
    yolo.train(trainer=trainer(space, base, **(attributes or {})), **given)
    return yolo


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def kernels(model):
    """Return the kernels with more than one tap by the names of their layers."""
    return {
        name: module.weight.detach()
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Conv2d) and module.weight[0, 0].numel() > 1
    }


def moved(before, after):
    """Return how many kernels differ between two networks."""
    pairs = zip(kernels(before).values(), kernels(after).values(), strict=True)
    return sum(not torch.equal(one, other) for one, other in pairs)


class Watch:
    """What trainers held: at each start of a training, and when they wrote their first file."""

    def __init__(self, folder, monkeypatch):
        from ultralytics.utils.callbacks.base import default_callbacks

        self.folder, self.starts, self.saved = folder, [], {}
        for event in ("on_train_start", "on_model_save", "on_train_end"):
            monkeypatch.setitem(default_callbacks, event, [getattr(self, event)])

    def __deepcopy__(self, memo):
        return self  # ultralytics copies callbacks

    def state(self, trainer):
        optimizer = trainer.optimizer
        return copy.deepcopy(
            {
                "model": trainer.model.state_dict(),
                "average": trainer.ema.ema.state_dict(),
                "updates": trainer.ema.updates,
                "optimizer": optimizer.state_dict()["state"],
                "kind": type(optimizer).__name__,
                "parameters": count(trainer.model),
            }
        )

    def on_train_start(self, trainer):
        self.starts.append(self.state(trainer))

    def on_model_save(self, trainer):
        name = trainer.args.name
        if name not in self.saved:
            self.saved[name] = self.state(trainer)
            shutil.copy(trainer.last, self.folder / f"{name}-last.pt")

    def on_train_end(self, trainer):
        """Leave behind what a run that was interrupted after its first epoch does."""
        if trainer.start_epoch == 0:
            shutil.copy(self.folder / f"{trainer.args.name}-last.pt", trainer.last)


WITHOUT = """
import sys
sys.modules["refconv"] = None  # any import of it fails
import torch
from ultralytics import YOLO
model = YOLO(sys.argv[1]).model
torch.save((model.state_dict(), sum(p.numel() for p in model.parameters())), sys.argv[2])
"""


def loaded_without_refconv(file, folder, **environment):
    """Return state and number of parameters of a file's network, from a process that cannot import refconv."""
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment}
    words = [sys.executable, "-c", WITHOUT, str(file), str(folder / "state.pt")]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "state.pt")


def halved(tensor):
    return tensor.half().float() if tensor.is_floating_point() else tensor


def test_page_trains_saves_resumes_and_exports_in_both_spaces(place, monkeypatch):
    import onnxruntime
    from ultralytics import YOLO

    before = YOLO("yolo11n.pt").model
    watch = Watch(place, monkeypatch)
    names = run_page("ultralytics", place)
    gradient, kernel, resumed = watch.starts

    # "no parameter more at any time", "the refocus weights are there while training"
    plan = refconv.plan(copy.deepcopy(before).requires_grad_(True), exclude="model.0.*")
    assert (gradient["kind"], kernel["kind"]) == ("RefocusSGD", "AdamW")
    assert gradient["parameters"] == count(before)
    assert kernel["parameters"] == count(before) + plan.extra_parameters
    assert plan.extra_parameters > 0

    # "plain at any time", "loaded without refconv"
    for name, state in watch.saved.items():
        expected = {key: halved(value) for key, value in state["average"].items()}
        for safely in ("false", "true"):
            file = place / f"{name}-last.pt"
            found, parameters = loaded_without_refconv(file, place, ULTRALYTICS_SAFE_LOAD=safely)
            assert parameters == count(before)
            assert list(found) == list(before.state_dict())
            assert all(torch.equal(found[key], value) for key, value in expected.items())

    # "kernels refocused and moved"
    for name in ("gradient", "kernel"):
        after = YOLO(f"runs/detect/{name}/weights/best.pt").model
        assert refconv.verify(before, after).same_structure
        assert moved(before, after) > 0.9 * len(kernels(before))

    # "goes on from the exact weights", with the average and the optimizer as ultralytics saves them
    saved = watch.saved["kernel"]
    assert resumed["kind"] == "AdamW"
    assert resumed["updates"] == saved["updates"] > 0
    assert list(resumed["model"]) == list(saved["model"])
    assert any(key.endswith("refocus_weight") and bool(value.any()) for key, value in saved["model"].items())
    for key, value in saved["model"].items():
        assert torch.equal(resumed["model"][key], value)
    for key, value in saved["average"].items():
        assert torch.equal(resumed["average"][key], halved(value))
    assert resumed["optimizer"].keys() == saved["optimizer"].keys()
    for number, state in saved["optimizer"].items():
        for key, value in state.items():  # ultralytics 8.3 rounds all of it
            assert any(torch.equal(resumed["optimizer"][number][key], one) for one in (value, halved(value)))

    # "validated, fused and exported"
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    best = names["best"].model.eval()
    with torch.no_grad():
        expected = best(image)[0]
        fused = copy.deepcopy(best).fuse(verbose=False)(image)[0]
    torch.testing.assert_close(fused, expected, rtol=1e-3, atol=1e-3)
    session = onnxruntime.InferenceSession("runs/detect/kernel/weights/best.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-3)


def test_both_spaces_end_at_the_same_weights_and_plain_training_elsewhere(place):
    from ultralytics import YOLO
    from ultralytics.models.yolo.detect import DetectionTrainer

    few = {"epochs": 1, "lr0": 0.001}  # in float32, rounding grows from step to step
    trained = {space: train(space, **few).trainer.ema.ema.state_dict() for space in ("gradient", "kernel")}
    plain = YOLO("yolo11n.pt")
    plain.train(trainer=DetectionTrainer, data="data.yaml", name="plain", **{**QUICK, **few, "optimizer": "SGD"})
    trained["plain"] = plain.trainer.ema.ema.state_dict()
    before = {f"{name}.weight" for name in kernels(YOLO("yolo11n.pt").model)}
    apart = {
        (one, other): max(float((trained[one][key] - trained[other][key]).abs().max()) for key in before)
        for one, other in (("gradient", "kernel"), ("gradient", "plain"))
    }
    assert apart["gradient", "kernel"] < 1e-4 * apart["gradient", "plain"]


def test_gradient_space_resumes_with_its_bases(place, monkeypatch):
    from ultralytics import YOLO

    before = kernels(YOLO("yolo11n.pt").model)
    watch = Watch(place, monkeypatch)
    train("gradient")
    YOLO("runs/detect/gradient/weights/last.pt").train(resume=True, trainer=trainer("gradient"))
    _, resumed = watch.starts
    saved = watch.saved["gradient"]
    bases = [state["base"] for state in resumed["optimizer"].values() if "base" in state]
    assert len(bases) == len(before) > 0
    for base in bases:  # "half precision already if they come from a file of its own"
        assert any(torch.equal(base, kernel) for kernel in before.values())
    for key, value in saved["average"].items():
        assert torch.equal(resumed["model"][key], halved(value))
    yolo = YOLO("gradient-last.pt")
    with pytest.raises(CheckpointError, match=r"last\.pt: the file was not saved by a trainer in kernel space"):
        yolo.train(resume=True, trainer=trainer("kernel"))


def test_frozen_kernels_stay_and_bases_are_not_said_to_be_trained(place, caplog):
    from ultralytics import YOLO
    from ultralytics.utils import LOGGER

    before = kernels(YOLO("yolo11n.pt").model)
    LOGGER.propagate = True
    with caplog.at_level(logging.INFO, logger="ultralytics"):
        for space in ("gradient", "kernel"):
            after = kernels(train(space, freeze=[0, 1], epochs=1).trainer.model)
            same = {layer for layer, kernel in before.items() if torch.equal(kernel, after[layer])}
            frozen = {layer for layer in before if layer.startswith(("model.0.", "model.1."))}
            assert frozen <= same
            assert len(same) < len(before) / 2  # boxes of this size say nothing to the coarsest part of the head
    said = [record.getMessage() for record in caplog.records]
    assert any("kernels of DetectionModel are refocused" in line for line in said)
    assert not any("frozen layer" in line for line in said)


@pytest.mark.parametrize("space", ["gradient", "kernel"])
@pytest.mark.parametrize(
    ("base", "name"), [("ClassificationTrainer", "yolo11n-cls"), ("SegmentationTrainer", "yolo11n-seg")]
)
def test_other_tasks_train_too(place, base, name, space):
    from ultralytics import YOLO

    task = {"cls": "classify", "seg": "segment"}[name[-3:]]
    file = write_yolo(f"{name}.pt", name, task)
    data = "data.yaml"
    if task == "classify":
        data = place / "classes"
        for split, kind in ((split, kind) for split in ("train", "val") for kind in CLASSES):
            shutil.copytree(place / "scenes" / "images" / "val", data / split / kind)
    else:  # rectangles as polygons
        for labels in (place / "scenes" / "labels").glob("*/*.txt"):
            rows = [[float(number) for number in line.split()] for line in labels.read_text().splitlines()]
            corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
            lines = [
                [int(c), *(v for a, b in corners for v in (x + a * w / 2, y + b * h / 2))] for c, x, y, w, h in rows
            ]
            labels.write_text("\n".join(" ".join(map(str, line)) for line in lines))
    before = YOLO(file).model
    yolo = train(space, file=file, base=base, data=str(data), epochs=1)
    assert refconv.verify(before, yolo.model).same_structure
    assert moved(before, yolo.model) > 0


def test_what_has_no_meaning_is_refused(place):
    from ultralytics import YOLO

    with pytest.raises(SettingError, match="optimizer: gradient space is for SGD; found 'AdamW'; optimizer='SGD', or"):
        train("gradient", optimizer="AdamW")
    with pytest.raises(SettingError, match="space: unknown space; expected gradient or kernel, found 'both'"):
        train("both")
    yolo = YOLO("yolo11n.pt")
    refconv.refocus(yolo.model.requires_grad_(True))
    with pytest.raises(
        ModelError, match=r"DetectionModel: the model is refocused already; .* refconv\.merge\(yolo\.model\)"
    ):
        yolo.train(trainer=trainer("kernel"), data="data.yaml", **QUICK)


def test_fusing_a_refocused_model_is_an_error_and_right_after_the_merge(place):
    from ultralytics import YOLO

    yolo = YOLO("yolo11n.pt")
    refconv.refocus(yolo.model.requires_grad_(True), start="kaiming", exclude="model.0.*")
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = yolo.model.eval()(image)[0]
        with pytest.raises(LayerError, match=r"^model\.1\.conv: the kernel is computed .*; merge\(model\)"):
            yolo.predict(np.zeros((64, 64, 3), np.uint8), verbose=False)
        for model in (
            yolo.model,
            refconv.merged(yolo.model).fuse(verbose=False),
        ):  # model.0 was folded before the error
            torch.testing.assert_close(model(image)[0], expected, rtol=1e-3, atol=1e-3)
    yolo.save("unmerged.pt")
    again = YOLO("unmerged.pt")
    assert len(list(places(again.model))) == len(list(places(yolo.model))) > 0
    refconv.merge(again.model)
    assert again.predict(np.zeros((64, 64, 3), np.uint8), verbose=False)
