"""What the final models of a study bear: measured on the same images for all, and compared seed by seed."""

import itertools

import pytest
import torch
from torch import nn

from benchmark_scripts import script
from refconv.models.opening import Opened
from refconv.recipe.recipe import Recipe
from small_studies import comparison

VALUES = {"top1": (0.90, 0.91)}


@pytest.fixture(scope="module")
def robustness():
    return script("robustness")


class OneClass(nn.Module):
    """Sees the same class everywhere."""

    def forward(self, images):
        return nn.functional.one_hot(torch.full((len(images),), 3), 10).float() + 0 * images.sum((1, 2, 3))[:, None]


def line(method, seed, value, **other):
    values = dict.fromkeys(("clean", "corrupted", "attacked", "shifted"), value)
    return {"study": "s", "architecture": "net", "method": method, "seed": seed, **values, **other}


def test_a_classifier_that_looks_at_nothing_bears_everything(robustness):
    recipe = Recipe(model="none", data="digits", device="cpu", workers=0)
    opened = Opened(OneClass(), "none", {"num_classes": 10, "in_chans": 1}, recipe)
    found = robustness.measured(opened, images=100, attacked=40)
    assert set(found) == set(robustness.MEASURES)
    assert found["shifted"] == 1
    assert found["clean"] == found["corrupted"]
    assert 0 < found["clean"] < 0.3
    assert 0 < found["attacked"] < 0.3  # of the first 40 alone


def test_differences_are_paired_by_seed_and_bold_where_zero_is_excluded(robustness):
    rows = [line("plain", seed, 0.5 + seed / 10) for seed in range(5)]
    rows += [line("refocus", seed, 0.51 + seed / 10, attacked=0.31 + seed / 5) for seed in (2, 0, 4, 1, 3)]
    text = robustness.section(rows)
    assert "3 of 4 intervals exclude zero" in text
    assert (
        "| [s](#s) | net | refocus minus plain | **+1.00 (+0.95 to +1.05)** |" in text
    )  # unpaired: +-25 points; paired: one of 2,048 images
    assert "| +1.00 (-18.63 to +20.63) |" in text
    assert "plain minus plain" not in text
    assert robustness.section([]).startswith("Open:")


def test_final_runs_are_those_with_the_chosen_settings(robustness, tmp_path):
    record = comparison({("net", "plain"): VALUES, ("net", "refocus"): VALUES}, measures=("top1",))
    # The cells have lr 0.1; the other learning rate was chosen before the grid was widened.
    for method, rate, seed in itertools.product(("plain", "refocus"), ("0.1", "0.2"), (0, 1)):
        (tmp_path / "final" / "net" / method / f"lr-{rate}" / f"seed-{seed}").mkdir(parents=True)
    found = robustness.final_runs(tmp_path, record)
    assert [run[:3] for run in found] == [("net", m, s) for m in ("plain", "refocus") for s in (0, 1)]
    assert {run[3].parent.name for run in found} == {"lr-0.1"}
    (tmp_path / "final" / "net" / "plain" / "lr-0.1" / "seed-1").rmdir()
    with pytest.raises(SystemExit, match=r"lr-0\.1/seed-1: no such run; run the study"):
        robustness.final_runs(tmp_path, record)


def test_the_committed_record_is_whole(robustness):
    rows = robustness.Lines(robustness.RECORD, *robustness.KEYS).rows
    seeds = {}
    for row in rows:
        seeds.setdefault((row["study"], row["architecture"], row["method"]), []).append(row["seed"])
    assert rows
    assert len({tuple(sorted(some)) for some in seeds.values()}) == 1
    assert all(0 <= row[name] <= 1 for row in rows for name in robustness.MEASURES)
