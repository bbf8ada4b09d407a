"""Every method in a run: stopped, resumed, certified and restored."""

import signal

import pytest
import torch
from safetensors.torch import load_file

from refconv.engine import Recipe, train
from refconv.engine.metrics import Metrics
from refconv.methods.registry import METHODS
from refconv.models.checkpoint import Checkpoint
from refconv.models.opening import open_model
from refconv.process.interruption import StoppedError
from refconv.surgery import plain_state_dict
from run_results import same_result

BASIS = {
    "model": "refconv.models.networks:mobilenet_small",
    "model_kwargs": {"width": 0.25, "strides": [2, 2], "stem_stride": 2}, "data": "digits", "batch_size": 479,
    "epochs": 1, "log_interval": 1, "lr": 0.05, "pad_crop": 1,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    train(Recipe(**{**BASIS, "seed": 7}), folder, show=False)
    return str(folder / "model")


@pytest.mark.parametrize("method", METHODS)
def test_run_is_resumed_exactly_certified_and_restored(method, pretrained, tmp_path, monkeypatch):
    recipe = Recipe(**BASIS, method=method, checkpoint=pretrained)
    record = train(recipe, tmp_path / "whole", show=False)
    assert record.certificate.same_structure
    assert record.certificate.same_outputs
    assert record.steps == 3
    assert record.parameters_shipped < 3000
    write = Metrics.write

    def interrupting(self, kind, *, step, **numbers):
        write(self, kind, step=step, **numbers)
        if step == 1:  # the loop stops after the next step
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "write", interrupting)
        with pytest.raises(StoppedError):
            train(recipe, tmp_path / "stopped", show=False)
    assert Checkpoint.load(tmp_path / "stopped/checkpoint.pt").step == 2
    train(recipe, tmp_path / "stopped", resume=True, show=False)
    same_result(tmp_path / "whole", tmp_path / "stopped")
    shipped = load_file(tmp_path / "whole/model/model.safetensors")
    restored = plain_state_dict(open_model(str(tmp_path / "whole/checkpoint.pt")).model)
    assert all(torch.equal(value, shipped[key]) for key, value in restored.items())
    before = load_file(f"{pretrained}/model.safetensors")
    changed = {key for key, value in shipped.items() if not torch.equal(value, before[key])}
    norms = {key for key in shipped if "running" in key}
    assert changed >= {"stem.0.weight", "blocks.1.0.weight", "classifier.weight"}
    assert changed & norms == (set() if method == "norm_fold" else norms)


def test_scratch_takes_no_weights(pretrained, tmp_path):
    """It is plain training without a checkpoint, bit for bit, whatever checkpoint is named."""
    train(Recipe(**BASIS, method="scratch", checkpoint=pretrained), tmp_path / "scratch", show=False)
    train(Recipe(**BASIS), tmp_path / "plain", show=False)
    train(Recipe(**BASIS, checkpoint=pretrained), tmp_path / "further", show=False)
    scratch, plain, further = (
        load_file(tmp_path / name / "model/model.safetensors") for name in ("scratch", "plain", "further")
    )
    assert all(torch.equal(value, plain[key]) for key, value in scratch.items())
    assert not torch.equal(scratch["stem.0.weight"], further["stem.0.weight"])


def test_settings_of_a_method_reach_the_run_and_its_record(pretrained, tmp_path):
    counts = {}
    for rank in (1, 2):
        recipe = Recipe(**BASIS, method="low_rank", method_kwargs={"rank": rank}, include="depthwise")
        counts[rank] = train(recipe, tmp_path / str(rank), show=False).extra_parameters
        assert Recipe.from_toml(tmp_path / str(rank) / "recipe.toml") == recipe
    assert counts[2] == 2 * counts[1] == 2 * sum(channels + 9 for channels in (6, 12))
