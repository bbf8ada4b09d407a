"""What a comparison says: the right numbers, the same words for better and worse, and a record that comes back."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from refconv.records import content_of
from refconv.studies import Comparison, pages
from refconv.studies.comparison import BaseResult, Gain, Tried
from refconv.studies.statistics import holm, seeds_needed
from small_studies import comparison

PLAIN = {"top1": (0.90, 0.91, 0.92, 0.90, 0.9075), "loss": (0.30, 0.31, 0.29, 0.30, 0.30)}


def shifted(by, noise=(0.001, -0.001, 0.0005, 0.0, 0.000125)):
    return {
        "top1": tuple(value + by + e for value, e in zip(PLAIN["top1"], noise, strict=True)),
        "loss": tuple(value - by + e for value, e in zip(PLAIN["loss"], noise, strict=True)),
    }


@pytest.fixture
def found():
    return comparison({
        ("net", "plain"): PLAIN, ("net", "up"): shifted(0.01), ("net", "down"): shifted(-0.01),
        ("net", "same"): shifted(0.0),
    })  # fmt: skip


def test_contrasts_are_those_of_scipy(found):
    for contrast in found.contrasts:
        own = found.cell("net", contrast.method).values[contrast.measure]
        test = stats.ttest_rel(own, PLAIN[contrast.measure])
        bounds = test.confidence_interval(0.95)
        assert contrast.p == pytest.approx(test.pvalue)
        assert (contrast.interval.low, contrast.interval.high) == (
            pytest.approx(bounds.low),
            pytest.approx(bounds.high),
        )
        assert contrast.interval.mean == pytest.approx(np.mean(own) - np.mean(PLAIN[contrast.measure]))
    for measure in ("top1", "loss"):
        family = found.contrasts_in(measure)
        assert [c.p_holm for c in family] == pytest.approx(holm([c.p for c in family]))
    assert found.contrasts_in("top1")[0].seeds_needed == seeds_needed(found.contrasts_in("top1")[0].spread, 0.001)
    assert found.contrasts_in("loss")[0].seeds_needed is None


def test_better_and_worse_are_said_in_the_same_words(found):
    up, down, same = (pages.verdict(contrast, "plain") for contrast in found.contrasts_in("top1"))
    assert up.replace("better", "worse") == down == "the interval excludes zero: worse than plain"
    assert same == "the interval includes zero"
    # A loss that falls is better.
    assert [pages.verdict(c, "plain").split(": ")[-1] for c in found.contrasts_in("loss")][:2] == [
        "better than plain", "worse than plain",
    ]  # fmt: skip
    better, worse = pages.sentences(found)[:2]
    assert better.startswith("net: up minus plain is +1.01 points in top-1")
    assert worse.startswith("net: down minus plain is -0.99 points in top-1")


def test_power_is_said_for_the_primary_measure(found):
    needed = found.contrasts_in("top1")[0].seeds_needed
    assert needed > 5
    assert f"Detecting 0.1 points needs {needed} seeds, {needed - 5} more." in pages.sentences(found)[0]


def test_tables_have_a_row_for_every_cell_and_contrast(found):
    rows = pages.results(found)
    assert len(rows) == 5
    assert len({len(row) for row in rows}) == 1
    assert "90.75 (89.72 to 91.78)" in rows[1]
    assert len(pages.differences(found, "loss")) == 4
    page = pages.markdown(found, plot="pages.svg")
    assert "![" in page
    assert page.count("\n## ") == 3
    assert all(line in page for line in pages.notes(found))


def test_edges_and_missing_cells_are_said():
    found = comparison({("net", "plain"): PLAIN, ("net", "up"): shifted(0.01)}, missing={"net/lost": "it diverged"})
    cells = (found.cells[0], dataclasses.replace(found.cells[1], edges=("lr",)))
    text = pages.markdown(dataclasses.replace(found, cells=cells))
    assert "lr 0.1 (edge of the grid)" in text
    assert "net/up: the chosen lr is at the edge of the grid" in text
    assert "net/lost has no result: it diverged." in text
    both = dataclasses.replace(cells[1], edges=("lr", "weight_decay"))
    assert "the chosen lr and weight_decay are at" in pages.markdown(dataclasses.replace(found, cells=(both,)))


def test_one_seed_has_no_interval_and_says_so():
    found = comparison({("net", "plain"): {"top1": (0.9,)}, ("net", "up"): {"top1": (0.91,)}}, measures=("top1",))
    assert pages.verdict(found.contrasts[0], "plain") == "no verdict: 1 seed, at least 5 are needed"
    assert "up minus plain is +1.00 points in top-1 (1 seed); no verdict:" in pages.markdown(found)


def test_one_test_image_decides_nothing():
    plain, one, three = (
        {"top1": tuple(k / 500 for k in right)} for right in (range(450, 455), range(451, 456), range(453, 458))
    )
    found = comparison(
        {("net", "plain"): plain, ("net", "one"): one, ("net", "three"): three}, measures=("top1",), test_samples=500
    )
    first, second = pages.sentences(found)
    assert first == (
        "net: one minus plain is +0.20 points in top-1 (-0.00 to +0.40, 5 seeds); the interval includes zero. "
        "No number of seeds can detect 0.1 points: one test sample is 0.2 points."
    )
    assert "+0.60 points in top-1 (+0.40 to +0.80, 5 seeds); the interval excludes zero: better than plain." in second
    assert "Top-1: one of 500 test samples is 0.2 points, and every interval extends at least" in pages.markdown(found)
    unknown = comparison({("net", "plain"): plain, ("net", "one"): one}, measures=("top1",))
    assert "no verdict: the difference is the same for all seeds" in pages.sentences(unknown)[0]


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_fewer_than_five_seeds_have_numbers_and_no_verdict(seeds, tmp_path):
    cells = {("net", "plain"): PLAIN, ("net", "up"): shifted(0.01), ("net", "down"): shifted(-0.01)}
    found = comparison({key: {name: some[:seeds] for name, some in values.items()} for key, values in cells.items()})
    text = pages.markdown(found)
    assert not any(word in text for word in ("better than plain", "worse than plain", "includes zero", "<"))
    assert text.count("no verdict: ") == 6  # two sentences, and two rows in each of two tables
    assert all(contrast.p is contrast.p_holm is None for contrast in found.contrasts)
    pages.draw(found, tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert not any(colour in drawn for colour in (pages._BETTER, pages._WORSE))


def test_a_study_without_reference_result_has_no_contrasts():
    found = comparison({("net", "up"): PLAIN})
    assert found.contrasts == ()
    assert "90.75" in pages.markdown(found)


def test_a_comparison_comes_back_from_json_the_same(found, tmp_path):
    found.write(tmp_path / "comparison.json")
    assert Comparison.read(tmp_path / "comparison.json") == found
    text = (tmp_path / "comparison.json").read_text(encoding="utf-8")
    assert content_of(text) == found.to_dict()  # a line for each entry, each cell, each contrast and each base
    lists = [found.cells, found.contrasts, found.bases]
    assert len(text.splitlines()) == 3 + len(found.to_dict()) + sum(len(some) + 1 for some in lists)


def test_the_plot_depends_on_the_record_alone(found, tmp_path):
    pages.draw(found, tmp_path / "a.svg", tmp_path / "a.png")
    pages.draw(found, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").stat().st_size > 5000
    text = (tmp_path / "a.svg").read_text()
    colours = [pages._BETTER, pages._WORSE, pages._OPEN]
    assert all(colour in text for colour in colours)
    one = comparison({("net", "plain"): PLAIN, ("net", "up"): shifted(0.01)})
    pages.draw(one, tmp_path / "c.svg")
    assert [colour in (tmp_path / "c.svg").read_text() for colour in colours] == [True, False, False]


def test_what_is_not_known_about_the_validation_split_is_said(found):
    assert "No settings were chosen" in pages.markdown(found)
    cells = (dataclasses.replace(found.cells[0], tried=(Tried({"lr": 0.1}, (0.3,)),)), *found.cells[1:])
    chosen = dataclasses.replace(found, cells=cells)
    assert "no run, base or continuation, was trained on that split" in pages.markdown(chosen)
    given = dataclasses.replace(chosen, bases=(BaseResult("net", None, {}),))
    assert "whether the given weights were is unknown" in pages.markdown(given)
    assert "Base of net: given." in pages.markdown(given)


def test_what_training_made_of_the_base_is_shown_beside_what_the_method_adds():
    values = {("net", name): {"top1": (0.9,) * 5, "loss": (0.3,) * 5} for name in ("plain", "refocus")}
    whole = comparison(values)
    assert pages.gains(whole)[1:] == []
    assert "Against the network before training" not in pages.markdown(whole)
    ends = (0.85, 0.86, 0.84, 0.85, 0.85)
    gain = Gain("top1", "val", 1000, (0.8,) * 5, ends)
    cells = (dataclasses.replace(whole.cells[0], gain=gain), *whole.cells[1:])
    (row,) = pages.gains(dataclasses.replace(whole, cells=cells))[1:]
    half = stats.t.ppf(0.975, 4) * np.std(ends, ddof=1) / 5**0.5
    low, high = (f"{100 * (0.05 + side * half):+.2f}" for side in (-1, 1))
    assert row == ("net", "plain", "top-1, %", "80.00", "85.00", f"+5.00 ({low} to {high})", "1,000 val")
    assert "Against the network before training" in pages.markdown(dataclasses.replace(whole, cells=cells))
