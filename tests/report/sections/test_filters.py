"""Degenerate layers by count and by name, before and after."""

import pytest
import torch

from refconv.report.sections import SPECS


def good(seed, n=40):
    """Varied but not like noise."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n, 9, generator=generator) * torch.linspace(2, 0.4, 9)
    return weight.reshape(n, 1, 3, 3)


def narrow(seed, n=40):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, 1, generator=generator) * torch.linspace(1, 2, 9)).reshape(n, 1, 3, 3)


def of(pair_of, before, after):
    return SPECS["filters"]([pair_of("refocus", before, after, "filters")])


@pytest.mark.parametrize(
    ("before", "after", "change", "text"),
    [
        (
            [narrow(0), good(1)],
            [good(0), good(1)],
            "better",
            "1 of 2 layers is degenerate before, 0 after: 0 recovered.",
        ),
        (
            [good(0), good(1)],
            [narrow(0), narrow(1)],
            "worse",
            "0 of 2 layers are degenerate before, 2 after: 0 and 1 became degenerate.",
        ),
        (
            [narrow(0), good(1)],
            [good(0), narrow(1)],
            "different",
            "1 of 2 layers is degenerate before, 1 after: 1 became degenerate; 0 recovered.",
        ),
        (
            [narrow(0), good(1)],
            [narrow(2), good(1)],
            "same",
            "1 of 2 layers is degenerate before and after, the same one.",
        ),
        ([good(0)], [good(1)], "same", "The only layer is not degenerate, before or after."),
        ([good(0)] * 2, [good(1)] * 2, "same", "None of 2 layers is degenerate, before or after."),
    ],
    ids=["recovered", "became", "exchanged", "stayed", "one-good", "good"],
)
def test_degenerate_layers_are_counted_and_named(pair_of, before, after, change, text):
    finding = of(pair_of, before, after).findings[0]
    assert (finding.text, finding.change) == (text, change)


def test_many_layers_are_not_all_named(pair_of):
    text = of(pair_of, [good(0)] * 8, [narrow(0)] * 8).findings[0].text
    assert text == "0 of 8 layers are degenerate before, 8 after: 0, 1, 2, 3, 4 and 3 more became degenerate."


def test_sparse_slices_are_worse(pair_of):
    dead = good(0)
    dead[:4] = 0
    found = of(pair_of, [good(0)], [dead]).findings[1]
    assert (found.text, found.change) == ("0.00 % of all slices are sparse before, 10.00 % after.", "worse")


def test_table_says_what_each_layer_is_and_entropy_is_a_share(pair_of):
    section = of(pair_of, [narrow(0), good(1)], [good(0), good(1)])
    table = section.figures[0].table
    assert table.header[-2:] == ("degenerate before", "degenerate refocus")
    assert [row[-2:] for row in table.rows] == [("narrow", "no"), ("no", "no")]
    assert float(table.rows[0][1].replace("−", "-")) < 0.01
    assert 0.8 < float(table.rows[1][1]) <= 1  # over log10 of 9, which is 0.95


def test_layers_too_small_to_judge_are_named(pair_of):
    section = of(pair_of, [good(0, n=5)], [good(1, n=5)])
    assert "1 layer with no more slices than taps, judged by sparsity alone: 0." in section.notes
    (entropy,) = [finding for finding in section.findings if "variance entropy" in finding.text]
    assert entropy.change in {"same", "unclear"}
