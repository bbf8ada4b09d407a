"""Restoration in the loop: any network, both spaces, evaluation as the field does it, refusals before anything runs."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from refconv.data.resizing import enlarged
from refconv.engine import Recipe, RunRecord, train
from refconv.engine.metrics import Metrics
from refconv.engine.setup import open_setup
from refconv.errors import DataError, ModelError, RecipeError, RefconvError, SettingError
from refconv.methods.registry import method_of
from refconv.models.checkpoint import Checkpoint
from refconv.models.opening import open_model
from refconv.process.distributed import Processes
from refconv.process.interruption import StoppedError
from refconv.studies.comparison import MEASURES
from refconv.tasks.model_data import data_for
from refconv.tasks.registry import task_of
from refconv.tasks.restoration.data import Degradation, RestorationData
from refconv.tasks.restoration.evaluation import RestorationEvaluation, luma, psnr, ssim
from refconv.tasks.restoration.task import Restoration
from run_results import read_metrics, same_result

OURS = "refconv.models.restorers:"
SMALL = {"width": 4, "depth": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures with edges and textures, 4 to train on and 2 to test on."""
    home = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 1), ("test", 2)):
        (home / split).mkdir()
        for index in range(count):
            coarse = Image.fromarray(generator.integers(0, 255, (9, 9, 3), dtype=np.uint8))
            coarse.resize((50 + index, 41), Image.Resampling.BICUBIC).save(home / split / f"{index}.png")
    return home


def recipe(folder, **settings):
    basis = {
        "task": "restoration",
        "data": f"images:{folder}",
        "model": OURS + "dncnn_small",
        "model_kwargs": SMALL,
        "patch_size": 16,
        "batch_size": 4,
        "epochs": 2,
        "lr": 0.01,
        "device": "cpu",
        "log_interval": 2,
    }
    return Recipe(**{**basis, **settings})


CASES = {
    "noise": {"noise": 25, "method": "refocus"},
    "grey": {"noise": 25, "in_chans": 1, "method": "refocus", "opt": "adamw", "train": "refocus+head"},
    "x2": {"upscale": 2, "model": OURS + "edsr_small", "method": "refocus"},
    "x3 enlarged": {"upscale": 3, "noise": 5},
    "u-net, x2 enlarged": {"upscale": 2, "model": "smp:Unet", "backbone": "test_resnet", "model_kwargs": {}},
    "x2 depthwise": {"upscale": 2, "model": OURS + "depthwise_small", "model_ema": True, "amp": True},
}


@pytest.mark.parametrize("case", CASES)
def test_run_trains_evaluates_certifies_and_is_opened_again(folder, tmp_path, case):
    settings = CASES[case]
    if settings.get("model", "").startswith("smp:"):
        pytest.importorskip("segmentation_models_pytorch")
    record = train(recipe(folder, **settings), tmp_path / "run", show=False)
    assert record.certificate.same_structure
    assert record.certificate.same_outputs
    assert (record.task, record.test_samples, len(record.validation)) == ("restoration", 2, 2)
    channel, other = {1: ("rgb", "luma"), 2: ("luma", "rgb")}[min(settings.get("upscale", 1), 2)]
    channel, others = ("grey", set()) if "in_chans" in settings else (channel, {f"psnr_{other}", f"ssim_{other}"})
    assert record.measures.keys() == {"psnr", "ssim", "input_psnr", "input_ssim", *others}
    words = {"rgb": "RGB of 8-bit images, mean over images", "luma": MEASURES["psnr"].note, "grey": None}[channel]
    assert record.definitions == ({} if words is None else {"psnr": words, "ssim": words})
    assert record.loss is not None
    assert record.top1 is None
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "test"]
    assert lines[0]["psnr"] == record.measures["psnr"]
    opened = open_model(str(tmp_path / "run"))
    again = Restoration().evaluate(opened.model, data_for(opened), "test", batch_size=1)
    assert again.psnr == pytest.approx(record.measures["psnr"], abs=0.02 if settings.get("amp") else 1e-4)
    assert again.input_psnr == pytest.approx(record.measures["input_psnr"])
    assert again.channel == channel
    assert again.enlarged == (case in {"x3 enlarged", "u-net, x2 enlarged"})


@pytest.mark.parametrize("method", ["plain", "refocus"])
def test_run_that_broke_off_in_mid_epoch_ends_in_the_same_bits(folder, tmp_path, monkeypatch, method):
    settings = {"upscale": 2, "checkpoint_interval": 3, "log_interval": 1, "method": method, "epochs": 3}
    train(recipe(folder, **settings), tmp_path / "whole", show=False)
    write = Metrics.write

    def breaking(self, kind, *, step, **numbers):
        write(self, kind, step=step, **numbers)
        if step == 11:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "write", breaking)
        with pytest.raises(StoppedError):
            train(recipe(folder, **settings), tmp_path / "broken", show=False)
    assert Checkpoint.load(tmp_path / "broken/checkpoint.pt").step == 9  # of 8 in an epoch
    train(recipe(folder, **settings), tmp_path / "broken", resume=True, show=False)
    same_result(tmp_path / "whole", tmp_path / "broken")


SCRIPT = """
import sys, torch
from refconv.engine import Recipe, train
torch.set_num_threads(1)
train(Recipe.from_toml(sys.argv[1]), sys.argv[2], show=False)
"""


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one_does(folder, tmp_path):
    settings = {"upscale": 2, "method": "refocus", "model": OURS + "edsr_small", "epochs": 1}
    one = train(recipe(folder, **settings), tmp_path / "one", show=False)
    (tmp_path / "recipe.toml").write_text(recipe(folder, **settings).to_toml())
    (tmp_path / "script.py").write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, str(tmp_path / "script.py"), str(tmp_path / "recipe.toml"), str(tmp_path / "two")]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300
    )
    assert done.returncode == 0, done.stderr
    two = RunRecord.read(tmp_path / "two" / "record.json")
    # The validation split has one picture: one process has none of it.
    assert (two.processes, two.test_samples, len(two.validation)) == (2, 2, 1)
    assert two.measures == pytest.approx(one.measures, abs=1e-3)
    assert two.validation[0].measures == pytest.approx(one.validation[0].measures, abs=1e-3)


@pytest.mark.parametrize("pair", ["same", "enlarging"])
def test_a_teacher_restores_what_the_student_restores(folder, tmp_path, pair):
    """With all weight on a teacher, the loss is the distance to its images, whatever the clean ones are."""
    enlarges = {"upscale": 2, "model": OURS + "edsr_small"} if pair == "enlarging" else {"noise": 25}
    given = {"upscale": 2} if pair == "enlarging" else {"noise": 25}
    train(recipe(folder, **given, epochs=1), tmp_path / "teacher", show=False)
    settings = recipe(
        folder, **enlarges, distill=str(tmp_path / "teacher"), distill_alpha=1.0,
        distill_features=("body.0",) if pair == "same" else (), epochs=1,
    )  # fmt: skip
    setup = open_setup(method_of(settings), Processes(0, 1, torch.device("cpu")))
    samples, targets = next(setup.data.eval_batches("train", batch_size=4))
    objective = setup.task.objective(settings, setup.info, setup.processes, part_size=4)
    setup.model.eval()
    teacher = open_model(str(tmp_path / "teacher")).model.eval()
    inputs = enlarged(samples, 2) if pair == "enlarging" else samples
    with torch.no_grad():
        found = objective(setup.model, samples, targets)
        expected = (setup.model(samples) - teacher(inputs)).abs().mean()
    assert found >= expected * (1 - 1e-5)
    if pair == "enlarging":
        torch.testing.assert_close(found, expected)
    else:
        assert found > expected  # by the features


def test_training_beats_the_input(folder, tmp_path):
    settings = {"noise": 50, "opt": "adamw", "lr": 0.003, "epochs": 25, "model_kwargs": {"width": 8, "depth": 3}}
    record = train(recipe(folder, **settings), tmp_path / "run", show=False)
    assert record.measures["psnr"] > record.measures["input_psnr"] + 3
    assert record.measures["ssim"] > record.measures["input_ssim"] + 0.1


def test_model_folder_alone_says_what_it_restores(folder, tmp_path):
    train(recipe(folder, upscale=2, noise=5, epochs=1), tmp_path / "run", show=False)
    opened = open_model(str(tmp_path / "run" / "model"))
    assert opened.task == "restoration"
    data = data_for(opened, f"images:{folder}")
    assert data.degradation == Degradation(noise=5, upscale=2)


class Blur(nn.Module):
    """A fixed network with nothing to train."""

    def forward(self, x):
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def test_evaluation_is_the_mean_over_pictures_of_what_is_measured_on_each(folder):
    data = RestorationData(f"images:{folder}", degradation=Degradation(noise=10, upscale=2), patch_size=16)
    found = Restoration().evaluate(Blur(), data, "test", batch_size=8)
    rows = []
    for sample, target in data.eval_batches("test", batch_size=1):
        given = enlarged(sample, 2)
        output = Blur()(given)
        pairs = [(luma(image[0])[2:-2, 2:-2], luma(target[0])[2:-2, 2:-2]) for image in (output, given)]
        loss = float((output - target).abs().mean())
        rows.append([psnr(*pairs[0]), ssim(*pairs[0]), loss, psnr(*pairs[1]), ssim(*pairs[1])])
    expected = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
    assert [found.psnr, found.ssim, found.loss, found.input_psnr, found.input_ssim] == pytest.approx(expected)
    assert (found.samples, found.enlarged) == (2, True)


def test_denoised_colour_images_are_compared_in_all_channels(folder):
    metrics, color = pytest.importorskip("skimage.metrics"), pytest.importorskip("skimage.color")
    data = RestorationData(f"images:{folder}", degradation=Degradation(noise=25), patch_size=16)
    found = Restoration().evaluate(Blur(), data, "test", batch_size=1)
    rows = []
    for sample, target in data.eval_batches("test", batch_size=1):
        image, clean = ((x[0].double() * 255).round().clamp(0, 255).numpy() / 255 for x in (Blur()(sample), target))
        luma_pair = [color.rgb2ycbcr(x, channel_axis=0)[0] for x in (clean, image)]
        rgb = metrics.peak_signal_noise_ratio(clean * 255, image * 255, data_range=255)
        rows.append([rgb, metrics.peak_signal_noise_ratio(*luma_pair, data_range=255)])
    rgb, of_luma = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
    assert found.channel == "rgb"
    assert [found.psnr, found.psnr_luma] == pytest.approx([rgb, of_luma], rel=1e-9)
    assert found.psnr_luma > found.psnr + 1  # the neighbour: what enlarged images are compared in
    assert found.ssim != pytest.approx(found.ssim_luma, rel=1e-2)


class Share(Processes):
    """One of several processes, which keeps its sums instead of sharing them."""

    kept = ()

    def sums(self, values):
        Share.kept = (*Share.kept, values)
        return values


def test_processes_share_the_pictures_evenly_or_not(folder):
    data = RestorationData(f"images:{folder}", degradation=Degradation(noise=10), patch_size=16)
    whole = Restoration().evaluate(Blur(), data, "test", batch_size=1)
    Share.kept = ()
    for rank in range(2):
        Restoration().evaluate(Blur(), data, "test", batch_size=1, processes=Share(rank, 2, torch.device("cpu")))
    totals = torch.tensor(Share.kept, dtype=torch.float64).sum(0)
    assert totals[-1] == 2
    assert (totals / 2)[:5].tolist() == pytest.approx(
        [whole.psnr, whole.ssim, whole.loss, whole.input_psnr, whole.input_ssim]
    )


def test_evaluation_leaves_out_an_infinite_ratio():
    found = RestorationEvaluation(1, float("inf"), 1.0, 0.0, 20.0, 0.5, enlarged=True, channel="grey")
    assert found.measures() == {"ssim": 1.0, "loss": 0.0, "input_psnr": 20.0, "input_ssim": 0.5}
    assert json.loads(found.to_json())["enlarged"] is True
    assert str(RestorationEvaluation(2, 30.0, 0.9, 0.01, 20.0, 0.5, channel="rgb", psnr_luma=33.0, ssim_luma=0.95)) == (
        "PSNR 30.00 dB (RGB, luma 33.00 dB)  SSIM 0.9000  loss 0.0100  on 2 images (input: 20.00 dB, 0.5000)"
    )
    assert (
        RestorationEvaluation.from_dict(
            {"samples": 2, "psnr": 30.0, "ssim": 0.9, "loss": 0.01, "input_psnr": 20.0, "input_ssim": 0.5}
        ).channel
        == "luma"
    )  # as all were measured before it was said


REFUSED = {
    "nothing to restore": ({}, SettingError, "nothing to restore.*noise=25"),
    "mixup": ({"noise": 5, "mixup": 0.2}, RecipeError, "mixup: has no effect in restoration: mixed"),
    "hflip": ({"noise": 5, "hflip": 0.5}, RecipeError, "hflip: has no effect.*mirrored and turned anyway"),
    "img_size": ({"noise": 5, "img_size": 64}, RecipeError, "img_size: has no effect.*patch_size"),
    "classes": ({"noise": 5, "num_classes": 3}, RecipeError, "num_classes: has no effect.*no classes"),
    "data": ({"noise": 5, "data": "digits"}, DataError, "digits: unknown data for restoration"),
    "small pictures": ({"noise": 5, "patch_size": 64}, DataError, "image too small; expected at least 64 x 64"),
    "classifier": ({"noise": 5, "model": "test_resnet", "model_kwargs": {}}, ModelError, "does not restore"),
    "another factor": (
        {"upscale": 2, "model": OURS + "edsr_small", "model_kwargs": {"upscale": 3, **SMALL}},
        ModelError,
        "the input 2 times larger.*upscale=2",
    ),
    "batch": ({"noise": 5, "batch_size": 512, "grad_accum_steps": 2}, RecipeError, "batch_size"),
}


@pytest.mark.parametrize(("settings", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_mistakes_are_one_line_before_anything_is_written(folder, tmp_path, settings, kind, message):
    with pytest.raises(RefconvError, match=message) as caught:
        train(recipe(folder, **settings), tmp_path / "run", show=False)
    assert isinstance(caught.value, kind)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "recipe.toml").exists()


def test_other_tasks_refuse_what_is_for_restoration():
    with pytest.raises(RecipeError, match="noise: has no effect in classification"):
        task_of(Recipe(model="test_resnet", data="digits", noise=5))


def test_head_is_the_last_convolution():
    from refconv.models.restorers import edsr_small

    assert Restoration().head_names(edsr_small(width=4, depth=1)) == {"tail.weight", "tail.bias"}
    with pytest.raises(ModelError, match="no convolution found"):
        Restoration().head_names(nn.Identity())


@pytest.mark.parametrize(("in_chans", "upscale"), [(3, 2), (1, 1)])
def test_predict_restores_an_image_as_it_is(folder, tmp_path, in_chans, upscale):
    settings = {"upscale": upscale, "noise": 0 if upscale > 1 else 10, "in_chans": in_chans, "epochs": 1}
    train(recipe(folder, **settings), tmp_path / "run", show=False)
    opened = open_model(str(tmp_path / "run"))
    image = Image.open(folder / "test" / "0.png")
    found = Restoration().predict(opened, image, device=torch.device("cpu"), threshold=0)
    assert found.picture.size == (50 * upscale, 41 * upscale)
    assert found.picture.mode == {1: "L", 3: "RGB"}[in_chans]
    assert found.content == {"width": 50 * upscale, "height": 41 * upscale, "upscale": upscale}
    # Hardly trained, the network does little to its enlarged input.
    given = image.convert(found.picture.mode).resize(found.picture.size, Image.Resampling.BICUBIC)
    difference = np.asarray(found.picture, dtype=float) - np.asarray(given, dtype=float)
    assert np.abs(difference).mean() < 12
    if in_chans == 1:
        sixteen = Image.fromarray(np.asarray(given).astype(np.uint16) * 257)
        again, same = (
            Restoration().predict(opened, one, device=torch.device("cpu"), threshold=0) for one in (sixteen, given)
        )
        assert np.array_equal(np.asarray(again.picture), np.asarray(same.picture))
        floats = Image.fromarray(np.full((8, 8), 2, dtype=np.float32))
        with pytest.raises(DataError, match="floats from 0 to 1, found float32"):
            Restoration().predict(opened, floats, device=torch.device("cpu"), threshold=0)


def test_spandrel_file_is_trained_and_its_result_opened_by_spandrel(folder, tmp_path):
    spandrel = pytest.importorskip("spandrel")
    from spandrel.architectures.DnCNN import DnCNN

    torch.manual_seed(0)
    torch.save(DnCNN(in_nc=3, out_nc=3, nc=4, nb=8, act_mode="BR").state_dict(), tmp_path / "weights.pth")
    settings = {"model": f"spandrel:{tmp_path / 'weights.pth'}", "model_kwargs": {}, "pretrained": True, "epochs": 1}
    record = train(recipe(folder, noise=25, method="refocus", **settings), tmp_path / "run", show=False)
    assert record.certificate.same_outputs
    (tmp_path / "weights.pth").unlink()
    opened = open_model(str(tmp_path / "run" / "model"))
    loaded = spandrel.ModelLoader().load_from_file(tmp_path / "run" / "model" / "model.safetensors").model.eval()
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), opened.model(x))


OWN = """
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 8, stride=8)
        self.up = nn.ConvTranspose2d(8, 3, 8, stride=8)

    def forward(self, x):
        return x + 0.01 * self.up(F.relu(self.down(x)))

def net() -> nn.Module:
    return Net()
"""


def test_own_network_whose_input_has_multiples_of_8_is_padded_and_its_patches_are_checked(folder, tmp_path):
    (tmp_path / "own_restorer_for_tests.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        settings = {"model": "own_restorer_for_tests:net", "model_kwargs": {}, "epochs": 1, "noise": 10}
        with pytest.raises(ModelError, match="does not take this data"):
            train(recipe(folder, patch_size=12, **settings), tmp_path / "refused", show=False)
        record = train(recipe(folder, **settings), tmp_path / "run", show=False)
    assert record.certificate.same_outputs
    assert record.measures["psnr"] > 20
