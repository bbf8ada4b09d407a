"""The task of segmentation: loss, evaluation, what is refused, and whole runs."""

import copy
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from masked_folders import NAMES, write_masks, write_voc
from refconv.data.preprocessing import FLAGS, Statement
from refconv.engine import Recipe, train
from refconv.engine.run_record import RunRecord
from refconv.errors import DataError, ModelError, RecipeError
from refconv.models.opening import Opened, open_model
from refconv.process.distributed import Processes
from refconv.tasks.model_data import data_for
from refconv.tasks.predicting import predictions, save_predictions
from refconv.tasks.registry import task_of
from refconv.tasks.segmentation.data import SegmentationData
from refconv.tasks.segmentation.evaluation import SegmentationEvaluation
from refconv.tasks.segmentation.masks import read_mask
from refconv.tasks.segmentation.task import Segmentation, pixel_losses
from refconv.tasks.teaching import Teacher
from run_results import same_result

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)
TASK = Segmentation()
SMALL = {
    "task": "segmentation", "model": "smp:Linknet", "backbone": "test_efficientnet", "epochs": 2, "batch_size": 4,
    "lr": 0.05, "workers": 0, "device": "cpu", "log_interval": 1,
}  # fmt: skip


class PerPixel(nn.Module):
    """A linear classifier of single pixels, with torchvision's outputs if asked for."""

    def __init__(self, classes=3, *, mapping=False, auxiliary=False):
        super().__init__()
        self.classifier = nn.Conv2d(3, classes, 1)
        self.auxiliary = nn.Conv2d(3, classes, 1) if auxiliary else None
        self.mapping = mapping or auxiliary

    def forward(self, images):
        outputs = {"out": self.classifier(images)}
        if self.auxiliary is not None:
            outputs["aux"] = self.auxiliary(images)
        return outputs if self.mapping else outputs["out"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return write_masks(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture
def data(shared):
    return SegmentationData(f"masks:{shared}")


def recipe(folder, **settings):
    return Recipe(**{**SMALL, "data": f"masks:{folder}", **settings})


def batch(seed=0, *, ignored=255):
    drawn = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, 6, 5, generator=drawn)
    truth = torch.randint(0, 3, (2, 6, 5), generator=drawn)
    truth[:, 0] = ignored
    return images, truth


def slow_loss(maps, truth, *, ignored=255, smoothing=0.0):
    """Return the mean over the pixels that count, one by one in float64."""
    losses = []
    for index in np.ndindex(*truth.shape):
        if truth[index] == ignored:
            continue
        row = maps.detach().double()[index[0], :, index[1], index[2]].numpy()
        logs = row - np.log(np.exp(row).sum())
        losses.append(-(1 - smoothing) * logs[truth[index]] - smoothing * logs.mean())
    return np.mean(losses)


@pytest.mark.parametrize("settings", [{}, {"smoothing": 0.1}, {"ignore_index": 7}], ids=["plain", "smooth", "ignored"])
def test_the_loss_is_the_mean_over_the_pixels_that_count(settings):
    images, truth = batch(ignored=settings.get("ignore_index", 255))
    model = PerPixel()
    loss = TASK.objective(recipe("here", **settings), None, ALONE, part_size=2)(model, images, truth)
    expected = slow_loss(
        model(images), truth, ignored=settings.get("ignore_index", 255), smoothing=settings.get("smoothing", 0.0)
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_an_auxiliary_output_counts_by_half():
    images, truth = batch()
    model = PerPixel(auxiliary=True)
    loss = TASK.objective(recipe("here"), None, ALONE, part_size=2)(model, images, truth)
    outputs = model(images)
    expected = slow_loss(outputs["out"], truth) + 0.5 * slow_loss(outputs["aux"], truth)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_part_without_a_pixel_that_counts_has_no_loss_and_no_gradient():
    images, truth = batch()
    model = PerPixel()
    loss = TASK.objective(recipe("here"), None, ALONE, part_size=2)(model, images, torch.full_like(truth, 255))
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad.abs().max() == 0 for parameter in model.parameters())


def test_losses_of_pixels_add_up_to_the_same_however_they_are_listed():
    images, truth = batch()
    maps = PerPixel()(images)
    rows = F.cross_entropy(maps.movedim(1, -1).flatten(0, -2), truth.flatten(), ignore_index=255, reduction="sum")
    torch.testing.assert_close(pixel_losses(maps, truth, ignored=255), rows)


def test_a_teacher_speaks_for_every_pixel_that_counts(monkeypatch):
    images, truth = batch()
    student, teacher = PerPixel(), PerPixel(mapping=True)
    monkeypatch.setattr(
        "refconv.tasks.segmentation.task.make_teacher",
        lambda *_, **__: Teacher(teacher, weight=0.3, temperature=2.0, autocast=nullcontext),
    )
    loss = TASK.objective(recipe("here"), None, ALONE, part_size=2)(student, images, truth)
    soft, opinion = (F.softmax(maps.double() / 2, 1) for maps in (student(images), teacher(images)["out"]))
    distances = (opinion * (opinion / soft).log()).sum(1)[truth != 255]
    expected = 0.7 * slow_loss(student(images), truth) + 0.3 * 4 * distances.mean().item()
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert loss.item() != pytest.approx(slow_loss(student(images), truth), rel=1e-2)


def test_a_teacher_of_other_classes_is_refused(monkeypatch):
    images, truth = batch()
    other = Teacher(PerPixel(4), weight=0.3, temperature=2.0, autocast=nullcontext)
    monkeypatch.setattr("refconv.tasks.segmentation.task.make_teacher", lambda *_, **__: other)
    with pytest.raises(ModelError, match=r"distill: the teacher has other outputs .*found \[2, 4, 6, 5\]"):
        TASK.objective(recipe("here"), None, ALONE, part_size=2)(PerPixel(), images, truth)


def test_evaluation_is_that_of_the_definition(data):
    torch.manual_seed(1)
    model = PerPixel()
    found = TASK.evaluate(model, data, "test", batch_size=2)
    images, truth = (torch.cat(parts) for parts in zip(*data.eval_batches("test", batch_size=9), strict=True))
    given = model(images).argmax(1)
    iou = [((given == c) & (truth == c)).sum().item() / ((given == c) | (truth == c)).sum().item() for c in range(3)]
    assert found.samples == 3
    assert found.class_iou == pytest.approx(dict(zip(NAMES, iou, strict=True)))
    assert found.miou == pytest.approx(np.mean(iou))
    assert found.pixel_accuracy == pytest.approx((given == truth).double().mean().item())
    assert found.loss == pytest.approx(slow_loss(model(images), truth), rel=1e-5)
    per_image = np.mean([[((g == c) & (t == c)).sum() / max(1, ((g == c) | (t == c)).sum()) for c in range(3)]
                         for g, t in zip(given.numpy(), truth.numpy(), strict=True)])  # fmt: skip
    assert found.miou != pytest.approx(per_image, rel=1e-6)  # the neighbouring formula: a mean over images


def test_batch_size_and_the_form_of_the_outputs_do_not_matter(data):
    model = PerPixel()
    same = PerPixel(mapping=True)
    same.load_state_dict(model.state_dict())
    one, other = TASK.evaluate(model, data, "train", batch_size=1), TASK.evaluate(same, data, "train", batch_size=5)
    assert dataclasses.replace(one, loss=0.0) == dataclasses.replace(other, loss=0.0)
    assert one.loss == pytest.approx(other.loss, rel=1e-5)


class Recorded(Processes):
    """A process that keeps what it would send."""

    def sums(self, values):
        sent.append(values)
        return values


sent: list[list[float]] = []


def test_processes_share_every_image_exactly_once_and_may_have_none(data):
    model = PerPixel()
    alone = TASK.evaluate(model, data, "test", batch_size=2)
    sent.clear()
    for rank in range(3):
        TASK.evaluate(model, data, "test", batch_size=2, processes=Recorded(rank, 4, CPU))
    with pytest.raises(DataError, match="every pixel is ignored"):  # the fourth has none, and is told of no others here
        TASK.evaluate(model, data, "test", batch_size=2, processes=Recorded(3, 4, CPU))
    assert len(sent) == 4
    loss, count, *cells = (sum(values) for values in zip(*sent, strict=True))
    matrix = np.reshape(cells, (3, 4))
    assert count == 3
    assert np.trace(matrix) / matrix.sum() == pytest.approx(alone.pixel_accuracy)
    assert loss / matrix.sum() == pytest.approx(alone.loss, rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training, data):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)).train(training)
    before = copy.deepcopy(model.state_dict())
    TASK.evaluate(model, data, "val", batch_size=2)
    assert model.training is training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_ignored_pixels_and_classes_that_are_nowhere_count_nowhere(tmp_path):
    write_voc(tmp_path, splits={"train": 2, "val": 2})
    data = SegmentationData(f"voc:{tmp_path}", stated=(Statement(FLAGS, {"img_size": 40}),))
    found = TASK.evaluate(PerPixel(21), data, "test", batch_size=2)
    assert sum(value is not None for value in found.class_iou.values()) < 21
    assert "of 21 classes)" in str(found)
    sent.clear()
    TASK.evaluate(PerPixel(21), data, "test", batch_size=2, processes=Recorded(0, 1, CPU))
    assert sum(sent[0][2:]) == 2 * 29 * 40  # 30 x 40 pixels, of which a column is ignored, in a square of 40


def test_a_class_may_be_ignored(shared):
    data = SegmentationData(f"masks:{shared}", ignore_index=0)
    found = TASK.evaluate(PerPixel(), data, "test", batch_size=2)
    assert found.class_iou["background"] is None
    assert found.miou == pytest.approx(np.mean([found.class_iou["disc"], found.class_iou["bar"]]))


def test_nothing_to_count_is_said(data):
    def nothing(split, *, batch_size, rank=0, world_size=1):
        yield torch.rand(2, 3, 8, 8), torch.full((2, 8, 8), 255)

    data.eval_batches = nothing
    with pytest.raises(DataError, match=r"split 'test' of masks:.*: every pixel is ignored; found ignore_index=255"):
        TASK.evaluate(PerPixel(), data, "test", batch_size=2)


def test_an_evaluation_is_a_record_and_prints_as_one_line():
    found = SegmentationEvaluation(3, 0.5, 0.75, 0.6, 1.25, 0.2, {"a": 0.5, "b": None})
    assert SegmentationEvaluation.from_json(found.to_json()) == found
    assert found.measures() == {
        "miou": 0.5, "pixel_accuracy": 0.75, "mean_accuracy": 0.6, "loss": 1.25, "baseline_miou": 0.2,
    }  # fmt: skip
    assert str(found) == (
        "mean IoU 50.00% (1 of 2 classes)  pixel accuracy 75.00%  mean accuracy 60.00%  loss 1.2500  on 3 images"
    )


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (PerPixel(2), r"does not fit the masks; expected logits of shape \[2, 3, 32, 32\], found \[2, 2, 32, 32\]"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3072, 3)), r"found \[2, 3\]; take a segmenter"),
        (nn.Conv2d(3, 3, 1, stride=2), r"found \[2, 3, 16, 16\]; take a segmenter"),
        (nn.Conv2d(1, 3, 1), r"Conv2d: the model does not take this data"),
    ],
    ids=["classes", "classifier", "smaller", "channels"],
)  # fmt: skip
def test_a_model_that_does_not_fit_is_refused(model, words, data):
    with pytest.raises(ModelError, match=words):
        TASK.evaluate(model, data, "val", batch_size=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"mixup": 0.2}, {"cutmix": 1.0}, {"re_prob": 0.1}, {"aa": "rand-m9"}, {"pad_crop": 4}, {"crop_pct": 0.9},
        {"reset_classifier": True, "checkpoint": "x"}, {"noise": 25.0}, {"upscale": 2}, {"patch_size": 48},
    ],
    ids=lambda settings: next(iter(settings)),
)  # fmt: skip
def test_settings_without_effect_are_refused(settings):
    with pytest.raises(RecipeError, match=f"{next(iter(settings))}: has no effect in segmentation: "):
        task_of(recipe("here", **settings))


def test_the_head_is_everything_but_the_backbone():
    from refconv.models.segmenters import build_smp, build_torchvision_segmenter

    unet = build_smp("Linknet", num_classes=3, backbone="test_efficientnet")
    lraspp = build_torchvision_segmenter("lraspp_mobilenet_v3_large", num_classes=3)
    for model, backbone in ((unet, "encoder."), (lraspp, "backbone.")):
        names = TASK.head_names(model)
        assert names
        assert {name for name in model.state_dict() if not name.startswith(backbone)} == names
    with pytest.raises(
        ModelError, match="cannot tell the model's head from its backbone; expected a part called backbone or"
    ):
        TASK.head_names(PerPixel())


@pytest.fixture(scope="module")
def lraspp_run(shared, tmp_path_factory):
    """A finished run of lraspp, refocused."""
    out = tmp_path_factory.mktemp("runs") / "lraspp"
    settings = {
        "model": "torchvision:lraspp_mobilenet_v3_large", "backbone": None, "method": "refocus", "epochs": 2,
        "batch_size": 4, "hflip": 0.5, "scale": (0.5, 1.5), "img_size": 64,
    }  # fmt: skip
    return train(recipe(shared, **settings), out, show=False), out


def test_lraspp_trains_and_ships_the_plain_network(lraspp_run):
    record, out = lraspp_run
    assert record.task == "segmentation"
    assert record.measure("miou") == record.measures["miou"]
    assert 0 < record.measures["miou"] < 1
    assert record.certificate.same_structure
    assert record.certificate.same_outputs
    assert len(record.validation) == 2
    assert record.sites > 10
    opened = open_model(str(out))
    assert opened.task == "segmentation"
    assert opened.class_names == NAMES


def test_a_run_is_evaluated_as_it_was_tested(lraspp_run):
    record, out = lraspp_run
    opened = open_model(str(out))
    data = data_for(opened, labelled=False)
    assert data.info.input_size == (3, 64, 64)
    again = TASK.evaluate(opened.model, data, "test", batch_size=2)
    assert again.measures()["miou"] == pytest.approx(record.measures["miou"])


def test_a_prediction_has_shares_and_a_picture_of_the_images_size(lraspp_run, shared, tmp_path):
    _, out = lraspp_run
    opened = open_model(str(out))
    wide = Image.open(shared / "images/test/00.png").resize((90, 40))
    wide.save(tmp_path / "wide.png")
    ((file, found),) = predictions(opened, [tmp_path / "wide.png"], device=CPU)
    assert found.picture.size == found.mask.size == (90, 40)
    shares = {entry["class"]: entry["share"] for entry in found.content["classes"]}
    assert {c: np.mean(np.asarray(found.mask) == c) for c in shares} == pytest.approx(shares)
    save_predictions(tmp_path / "out", [(file, found)])
    (entry,) = json.loads((tmp_path / "out/predictions.json").read_text())
    np.testing.assert_array_equal(read_mask(str(tmp_path / "out" / entry["mask"])), np.asarray(found.mask))
    drawn, plain = np.asarray(found.picture), np.asarray(wide)
    background = np.asarray(found.mask) == 0
    assert (drawn[background] == plain[background]).all()
    assert (drawn[~background] != plain[~background]).any() or background.all()
    assert sum(entry["share"] for entry in found.content["classes"]) == pytest.approx(1)
    assert re.match(r"(background|disc|bar) \d", found.words)


def test_a_prediction_lies_where_the_image_shows_it():
    class Bright(nn.Module):
        def forward(self, images):
            return torch.cat([-images[:, :1], images[:, :1]], dim=1)

    pixels = np.zeros((30, 90, 3), dtype=np.uint8)
    pixels[10:20, 60:] = 255
    opened = Opened(
        Bright(),
        "bright",
        {},
        stated=Statement("the model", {"input_size": (3, 45, 45), "mean": [0.5] * 3, "std": [1] * 3}),
    )
    found = TASK.predict(opened, Image.fromarray(pixels), device=CPU, threshold=0)
    differing = (np.asarray(found.mask) != (pixels[..., 0] > 0)).mean()
    assert differing < 0.02
    assert found.words == "0 88.9%, 1 11.1%"


@pytest.mark.parametrize("known", [{}, {"input_size": (1, 20)}], ids=["nothing", "a signal"])
def test_a_model_whose_input_is_not_known_predicts_nothing(known):
    opened = Opened(PerPixel(), "mine", {}, stated=Statement("the model", known))
    with pytest.raises(DataError, match="mine: the (size of the model's input is not known|model takes no images)"):
        TASK.predict(opened, Image.new("RGB", (8, 8)), device=CPU, threshold=0)


def test_training_learns_what_colours_tell_and_goes_on_exactly(shared, tmp_path, monkeypatch):
    settings = {
        "data": f"masks:{shared}", "task": "segmentation", "model": f"{__name__}:tiny_segmenter", "backbone": None,
        "epochs": 25, "lr": 0.2, "hflip": 0.5, "scale": (0.6, 1.0), "checkpoint_interval": 7,
    }  # fmt: skip
    whole = train(Recipe(**{**SMALL, **settings}), tmp_path / "whole", show=False)
    assert whole.measures["miou"] > 0.9
    assert whole.measures["baseline_miou"] < 0.35
    from refconv.engine.epochs import Loop

    class StopError(Exception):
        pass

    def stopping(self, *_):
        if self.step == 17:
            raise StopError
        return log(self)

    log = Loop._log
    monkeypatch.setattr(Loop, "_log", stopping)
    with pytest.raises(StopError):
        train(Recipe(**{**SMALL, **settings}), tmp_path / "stopped", show=False)
    monkeypatch.setattr(Loop, "_log", log)
    train(Recipe(**{**SMALL, **settings}), tmp_path / "stopped", resume=True, show=False)
    same_result(tmp_path / "whole", tmp_path / "stopped")


def tiny_segmenter(num_classes: int, in_chans: int) -> nn.Module:
    """Return a segmenter that sees 3 x 3 pixels."""
    return nn.Sequential(nn.Conv2d(in_chans, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, num_classes, 1))


@pytest.mark.parametrize("train_what", ["refocus", "refocus+norm", "refocus+head"])
def test_what_trains_is_what_was_asked_for(train_what, shared, tmp_path):
    settings = {"method": "refocus", "train": train_what, "epochs": 1, "model_kwargs": {"encoder_depth": 3}}
    record = train(recipe(shared, **settings), tmp_path / "run", show=False)
    assert record.certificate.same_outputs
    assert 0 < record.parameters_trained < record.parameters_shipped


def test_a_backbone_starts_from_a_classifier(shared, tmp_path):
    theirs = timm.create_model("test_efficientnet", num_classes=7).state_dict()
    torch.save(theirs, tmp_path / "classifier.pth")
    settings = {"backbone_checkpoint": str(tmp_path / "classifier.pth"), "lr": 0.0, "weight_decay": 0.0, "epochs": 1}
    train(recipe(shared, **settings), tmp_path / "segmenter", show=False)
    ours = open_model(str(tmp_path / "segmenter")).model.state_dict()
    assert torch.equal(ours["encoder.model.conv_stem.weight"], theirs["conv_stem.weight"])


MISTAKES = {
    "a classifier": ({"model": "test_resnet", "backbone": None}, ModelError, "take a segmenter, such as smp:Unet"),
    "a size that no encoder divides": ({"img_size": 50}, ModelError, "does not take this data; .*50"),
    "one image a batch": (
        {"model": "smp:PSPNet", "batch_size": 1}, RecipeError,
        "batch_size: batch norm cannot train on one value per channel; expected at least 2 samples .*found 1",
    ),
    "too few classes": ({"num_classes": 2}, DataError, "the data has more classes than the model is to have"),
    "data of another task": ({"data": "digits"}, DataError, "digits: no data for segmentation"),
    "ratio alone": ({"ratio": (1.0, 1.0)}, ValueError, "ratio: has no effect without scale"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_said_in_one_line(case, shared, tmp_path):
    settings, error, words = MISTAKES[case]
    with pytest.raises(error, match=words) as raised:
        train(recipe(shared, **settings), tmp_path / "run", show=False)
    assert "\n" not in str(raised.value)


def test_a_mask_with_an_undeclared_class_ends_a_run_with_its_name(shared, tmp_path):
    folder = shutil.copytree(shared, tmp_path / "data")
    Image.fromarray(np.full((32, 32), 200, dtype=np.uint8)).save(folder / "masks/train/06.png")
    with pytest.raises(
        DataError, match=r"masks/train/06\.png: the mask holds an undeclared class; .*found 200 in 1,024"
    ):
        train(recipe(folder), tmp_path / "run", show=False)


SCRIPT = """
import sys
import torch
from refconv.engine import Recipe, train
torch.set_num_threads(1)
train(Recipe.from_toml(sys.argv[1]), sys.argv[2], show=False)
"""


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one_does(shared, tmp_path):
    settings = {  # no batch norm: its statistics are those of each process's share
        "model": "smp:Unet", "backbone": "test_convnext", "lr": 0.01, "hflip": 0.5, "method": "refocus",
        "model_kwargs": {"decoder_use_norm": False, "decoder_channels": [16, 16, 8, 8, 8]},
    }  # fmt: skip
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "recipe.toml").write_text(recipe(shared, **settings).to_toml())
    launched = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         str(tmp_path / "script.py"), str(tmp_path / "recipe.toml"), str(tmp_path / "two")],
        capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert launched.returncode == 0, launched.stderr
    two = RunRecord.read(tmp_path / "two/record.json")
    one = train(recipe(shared, **settings), tmp_path / "one", show=False)
    assert (two.processes, two.test_samples) == (2, 3)  # three images for two processes
    assert two.measures == pytest.approx(one.measures, abs=2e-3)
    assert two.loss == pytest.approx(one.loss, rel=1e-4)
    weights = [load_file(tmp_path / name / "model/model.safetensors") for name in ("one", "two")]
    assert max(float((weights[0][key] - weights[1][key]).abs().max()) for key in weights[0]) < 1e-4
