import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchmetrics.functional.classification import multiclass_accuracy

from improvement_records import of_hits
from refconv.engine.setup import open_setup
from refconv.improvement.scoring import BLOCKS, Score, difference, score
from refconv.methods.registry import method_of
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe

ALONE = Processes(0, 1, torch.device("cpu"))


def opened(**settings):
    recipe = Recipe.from_mapping({"workers": 0, "device": "cpu", **settings})
    return open_setup(method_of(recipe), ALONE)


def test_a_classifier_is_scored_sample_by_sample():
    setup = opened(model="refconv.models.networks:mobilenet_small", data="digits", val_split=0.2, batch_size=50)
    found = score(setup.model, setup, "val")
    outputs, labels = [], []
    setup.model.eval()
    for inputs, targets in setup.data.eval_batches("val", batch_size=1000):
        with torch.no_grad():
            outputs.append(setup.model(inputs))
        labels.append(targets)
    outputs, labels = torch.cat(outputs), torch.cat(labels)
    expected = multiclass_accuracy(outputs, labels, num_classes=10, average="micro")
    assert found.value == pytest.approx(float(expected))
    assert [c == "1" for c in found.hits] == (outputs.argmax(1) == labels).tolist()
    assert found.loss == pytest.approx(float(torch.nn.functional.cross_entropy(outputs, labels)), abs=1e-5)
    assert found.samples == len(labels) == setup.data.info.val_size


@pytest.fixture
def pictures(tmp_path):
    """Return data of a few small pictures, 20 of them to test on."""
    generator = np.random.default_rng(0)
    for split, number in (("train", 2), ("test", 20)):
        (tmp_path / split).mkdir()
        for name in range(number):
            pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / split / f"{name}.png")
    return f"images:{tmp_path}"


def test_other_models_are_scored_on_the_whole_split_and_in_parts_of_it(pictures):
    setup = opened(
        model="refconv.models.restorers:espcn_small",
        data=pictures,
        task="restoration",
        upscale=4,
        batch_size=2,
        patch_size=16,
    )
    found = score(setup.model, setup, "test")
    whole = setup.evaluate(setup.model, "test")
    assert found.value == whole.measures()["psnr"]
    assert 0 < len(found.blocks) <= BLOCKS
    assert found.hits == ""
    assert not found.losses


def test_the_difference_of_two_classifiers_is_paired():
    first = of_hits([True] * 60 + [False] * 40)
    second = of_hits([True] * 58 + [False] * 2 + [True] * 10 + [False] * 30)
    found = difference(first, second)
    assert found.value == pytest.approx(0.08)
    assert found.p == pytest.approx(stats.binomtest(10, 12).pvalue)
    assert found.low < 0.08 < found.high
    # The variance of a mean of n values that are +1 ten times, -1 twice and 0 else.
    values = [1] * 10 + [-1] * 2 + [0] * 88
    assert found.error == pytest.approx(math.sqrt(sum((v - 0.08) ** 2 for v in values) / 100) / 10)
    assert difference(second, first).value == pytest.approx(-0.08)


def test_models_that_answer_alike_still_differ_by_a_sample_of_noise():
    same = of_hits([True] * 60 + [False] * 40)
    found = difference(same, same)
    assert found.error == pytest.approx(1 / 100)
    assert not found.beyond_noise
    assert not found.clear
    assert not found.beyond_noise


def test_over_blocks_the_difference_is_students():
    first = Score("psnr", 30.0, 10, blocks=(29.0, 30.0, 31.0, 30.5, 29.5))
    second = Score("psnr", 30.2, 10, blocks=(29.3, 30.1, 31.2, 30.7, 29.7))
    found = difference(first, second)
    changes = [b - a for a, b in zip(first.blocks, second.blocks, strict=True)]
    expected = stats.ttest_1samp(changes, 0.0)
    interval = expected.confidence_interval()
    assert found.value == pytest.approx(0.2)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.clear
    assert found.beyond_noise


def test_with_few_blocks_there_is_no_interval():
    first, second = (Score("psnr", value, 4, blocks=(value, value + gain)) for value, gain in ((30.0, 1), (31.0, 3)))
    found = difference(first, second)
    assert (found.low, found.high) == (None, None)
    assert not found.clear


def test_the_loss_tells_differences_apart_where_the_measure_does_not():
    hits = [True] * 60 + [False] * 40
    losses = [0.5 + 0.01 * (i % 7) for i in range(100)]
    first, second = (
        of_hits(hits, losses),
        of_hits(hits, [loss - 0.05 - 0.001 * (i % 3) for i, loss in enumerate(losses)]),
    )
    found = difference(first, second)
    assert found.loss > 2
    assert not found.beyond_noise
    assert difference(second, first).loss < -2


@pytest.mark.parametrize(
    ("value", "loss", "finite"), [(0.5, 1.0, True), (math.nan, None, False), (0.5, math.inf, False)]
)
def test_what_is_not_finite_is_known(value, loss, finite):
    assert Score("top1", value, 10, loss).finite is finite


def test_a_score_comes_back_from_json():
    found = of_hits([True, False, True])
    assert Score.from_json(found.to_json()) == found


def test_a_small_split_has_blocks_enough_to_tell_differences_apart(pictures):
    setup = opened(
        task="restoration", model="refconv.models.restorers:espcn_small", data=pictures, upscale=4, patch_size=16,
        batch_size=64,
    )  # fmt: skip
    found = score(setup.model, setup, "test")
    assert found.samples < 64
    assert len(found.blocks) > 1
