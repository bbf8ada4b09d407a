import numpy as np
import pytest
import torch
from PIL import Image

from refconv.analysis.analysing import ModelPair, analyse, begun, side_facts
from refconv.analysis.evidence import SCORES, AnalysisConfig, open_scores
from refconv.analysis.keeping import reusable
from refconv.errors import DataError, SettingError
from refconv.models.opening import Opened
from refconv.models.restorers import dncnn_small
from refconv.recipe.recipe import Recipe
from refconv.tasks.model_data import data_for
from refconv.tasks.registry import task_named


def denoiser(seed):
    torch.manual_seed(seed)
    recipe = Recipe(
        task="restoration",
        model="refconv.models.restorers:dncnn_small",
        data="photographs",
        noise=25,
        img_size=16,
        workers=0,
    )
    small = {"in_chans": 3, "width": 8, "depth": 3}
    return Opened(dncnn_small(**small).eval(), recipe.model, small, recipe, task="restoration")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The name of data with two small pictures to test on."""
    folder = tmp_path_factory.mktemp("pictures")
    drawn = np.random.default_rng(0)
    for index in range(2):
        coarse = Image.fromarray(drawn.integers(0, 255, (9, 9, 3), dtype=np.uint8))
        coarse.resize((50 + index, 41), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return f"images:{folder}"


@pytest.fixture(scope="module")
def couple():
    opened = denoiser(0), denoiser(1)
    return ModelPair(opened, side_facts("before", opened[0]), side_facts("after", opened[1]))


def test_scores_are_those_of_an_evaluation(couple, pictures):
    found = open_scores(couple.opened, AnalysisConfig(data=pictures, device="cpu"))[0]()
    for side, one in zip(("before", "after"), couple.opened, strict=True):
        wanted = task_named("restoration").evaluate(one.model, data_for(one, pictures), "test", batch_size=1)
        assert found[side].measures == pytest.approx(wanted.measures())
        assert (found[side].samples, found[side].cut) == (wanted.samples, False)
    assert found["before"].measures["psnr"] != found["after"].measures["psnr"]
    assert found["before"].measures["input_psnr"] == found["after"].measures["input_psnr"]  # the same noise


def test_fewer_samples_are_drawn_for_both(couple, pictures):
    questions = AnalysisConfig(data=pictures, device="cpu")
    found = open_scores(couple.opened, questions, samples=1)[0]()
    assert [(side.samples, side.cut) for side in found.values()] == [(1, True)] * 2
    assert found["before"].measures["input_psnr"] == found["after"].measures["input_psnr"]
    whole = open_scores(couple.opened, questions)[0]()
    assert whole["before"].samples > 1  # cutting left the data as they are


def test_an_analysis_of_another_task_has_its_scores_and_nothing_of_classifiers(couple, pictures, tmp_path):
    questions = AnalysisConfig(data=pictures, only=("movement", SCORES), device="cpu")
    analysis = analyse(couple, questions)
    assert list(analysis.records) == ["movement", "scores-before", "scores-after"]
    assert analysis.facts.left_out == {}
    assert analysis.facts.samples == {SCORES: 2}
    analysis.write(tmp_path)
    assert set(reusable(tmp_path, begun(couple, questions)).measured) == {"movement", SCORES}
    assert AnalysisConfig(data="photographs").measures("restoration")[-1] == SCORES
    assert SCORES not in AnalysisConfig(data="digits").measures("classification")


def test_what_cannot_be_examined_is_said(couple, pictures):
    other = Opened(couple.opened[0].model, "x", {}, couple.opened[0].recipe, task="segmentation")
    with pytest.raises(SettingError, match="different tasks; expected restoration, found segmentation"):
        open_scores((other, couple.opened[1]), AnalysisConfig(data=pictures))
    with pytest.raises(DataError):
        analyse(couple, AnalysisConfig(data="images:nowhere"))
    with pytest.raises(SettingError, match="nothing is left to measure"):
        analyse(couple, AnalysisConfig(data=pictures, only=("agreement",)))
    with pytest.raises(SettingError, match="no such measure"):
        analyse(couple, AnalysisConfig(only=(SCORES,)))
