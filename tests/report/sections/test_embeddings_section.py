"""Sections on probes and neighbours: judged by the samples that changed sides."""

import report_records as made
from refconv.measures.embeddings import Neighbourhood, Neighbours, Probes, ProbeScore
from refconv.report.sections import SPECS


def probes(linear, votes=(0, 0), right=60, wrong=40):
    scores = (
        ProbeScore("linear", right, *linear, wrong - sum(linear)),
        ProbeScore("nearest neighbours", right, *votes, wrong - sum(votes)),
    )
    return Probes(right + wrong, False, 500, (8, 8), 20, scores)


def neighbours(kept, gained=0, lost=0):
    nearest = ProbeScore("nearest neighbours", 60, gained, lost, 40 - gained - lost)
    return Neighbours(100, True, (Neighbourhood(1, kept / 2, 1 / 99), Neighbourhood(10, kept, 10 / 99)), nearest)


def test_a_probe_that_gains_more_than_a_coin_would_is_better():
    linear, votes = SPECS["probes"]([made.pair(probes=probes((20, 2), (3, 3)))]).findings
    assert linear.text.startswith(
        "A linear classifier on frozen features: accuracy rises from 62.00 % to 80.00 % (+18.00 points, 95 % interval "
    )
    assert linear.change == "better"
    assert linear.p < 0.001
    assert votes.text.startswith("A vote of 20 neighbours on frozen features: accuracy stays at 63.00 %")
    assert votes.change == "same"
    (worse, _) = SPECS["probes"]([made.pair(probes=probes((2, 20)))]).findings
    assert worse.change == "worse"
    (unclear, _) = SPECS["probes"]([made.pair(probes=probes((3, 2)))]).findings
    assert unclear.change == "unclear"


def test_probes_of_pairs_are_compared_by_their_standard_errors():
    pairs = [made.plain(probes=probes((0, 20))), made.pair(probes=probes((20, 0)))]
    contrasts = [finding for finding in SPECS["probes"](pairs).findings if finding.text.startswith("After")]
    assert [finding.change for finding in contrasts] == ["better", "same"]
    assert contrasts[0].text == "After refocus the linear probe gets 80.00 %, higher than the 60.00 % of plain."
    close = [made.plain(probes=probes((0, 2))), made.pair(probes=probes((2, 0)))]
    assert SPECS["probes"](close).findings[-2].change == "unclear"


def test_the_figure_has_a_bar_per_probe_and_model():
    (figure,) = SPECS["probes"]([made.pair(probes=probes((20, 2)))]).figures
    assert figure.table.header == ("probe", "before", "refocus")
    assert figure.table.rows == (
        ("linear", "62.00 %", "80.00 %"), ("nearest neighbours", "60.00 %", "60.00 %"),
    )  # fmt: skip


def test_neighbours_that_change_are_told_beside_chance():
    kept, nearest = SPECS["neighbours"]([made.pair(neighbours=neighbours(0.4, 20, 2))]).findings
    assert kept.text == (
        "Of 10 nearest neighbours of a sample 40.0 % stay on average (of sets drawn at random 10.1 %)."
    )
    assert (kept.change, nearest.change) == ("different", "better")
    (same, still) = SPECS["neighbours"]([made.pair(neighbours=neighbours(1.0))]).findings
    assert (same.change, still.change) == ("same", "same")


def test_neighbours_of_pairs_are_compared():
    pairs = [made.plain(neighbours=neighbours(0.9)), made.pair(neighbours=neighbours(0.5))]
    found = SPECS["neighbours"](pairs)
    assert found.findings[-1].text == "After refocus neighbours that stay are 50.0 %, lower than the 90.0 % of plain."
    assert found.findings[-1].change == "different"
    assert (
        "Measured on 100 samples drawn from more. Sets drawn at random have in common 1.0 % of 1, 10.1 % of 10."
        in found.notes
    )
