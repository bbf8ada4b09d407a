"""Facts of models: a fingerprint of all that they compute with, and the record of the run that made them."""

import copy
import re

import pytest
import torch
from torch import nn

from finished_runs import finished_run
from refconv.analysis.analysing import fingerprint, side_facts
from refconv.analysis.keeping import read_facts
from refconv.errors import RunError
from refconv.models.opening import open_model
from run_checkpoints import small_recipe


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def renamed():
    return nn.Sequential(*reversed(list(network())))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model[0].weight.data.view(-1)[0].add_(1e-6),
        lambda model: model[1].running_mean[0].add_(1e-6),
        lambda model: model.double(),
        lambda model: setattr(model[0], "weight", nn.Parameter(model[0].weight.detach().reshape(1, 2, 3, 3))),
    ],
    ids=["weight", "statistics", "precision", "shape"],
)
def test_a_fingerprint_sees_every_change(change):
    model = network()
    same = copy.deepcopy(model).train(not model.training)
    assert fingerprint(same) == fingerprint(model)
    change(same)
    assert fingerprint(same) != fingerprint(model) != fingerprint(renamed())


def test_half_precision_has_a_fingerprint():
    assert fingerprint(network().bfloat16()) != fingerprint(network().half())


def test_a_run_says_how_it_was_trained(tmp_path):
    plain = finished_run(tmp_path / "run", small_recipe(seed=7))
    facts = side_facts(str(tmp_path / "run"), open_model(str(tmp_path / "run")))
    assert (facts.method, facts.space, facts.training.seed, facts.training.top1) == ("refocus", "kernel", 7, 0.5)
    assert facts.fingerprint == fingerprint(plain)
    (tmp_path / "run/record.json").write_text("{}")
    resumed = f"; remove it and resume: refconv train --resume --out {tmp_path}/run makes it again from the last"
    for remedy in (resumed, "; without checkpoint.pt nothing brings it back"):
        with pytest.raises(RunError, match=f"record.json: cannot read the record; .*{re.escape(remedy)}") as caught:
            side_facts(str(tmp_path / "run"), open_model(str(tmp_path / "run/model")))
        assert "\n" not in str(caught.value)
        (tmp_path / "run/checkpoint.pt").unlink(missing_ok=True)


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_the_model_folder_of_a_run_has_its_record_and_a_copy_elsewhere_has_none(tmp_path, prefix):
    finished_run(tmp_path / "run", small_recipe())
    opened = open_model(str(tmp_path / "run/model"))
    facts = side_facts(f"{prefix}{tmp_path}/run/model", opened)
    assert (facts.method, facts.space, facts.training.top1) == ("refocus", "kernel", 0.5)
    (tmp_path / "run/model").rename(tmp_path / "model")
    facts = side_facts(f"{prefix}{tmp_path}/model", opened)
    assert (facts.method, facts.space, facts.run) == (None, None, None)
    assert read_facts(tmp_path) is None
