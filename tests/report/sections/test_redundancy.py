"""What pairs say to the claim of less redundancy, with scale told apart from patterns."""

import pytest
import torch

from refconv.report.sections import SPECS

LAYERS = 8


def kernels(seed=0, channels=6):
    generator = torch.Generator().manual_seed(seed)
    return [0.1 * torch.randn(channels, 1, 3, 3, generator=generator) for _ in range(LAYERS)]


def alike(layers, share=0.7):
    """Move every channel towards the first one, at the root mean square that the layer had."""
    found = [share * layer[:1] + (1 - share) * layer for layer in layers]
    return [new * (old.square().mean() / new.square().mean()).sqrt() for new, old in zip(found, layers, strict=True)]


def scaled(layers, by):
    return [by * layer for layer in layers]


def of(pair):
    return SPECS["redundancy"]([pair])


@pytest.mark.parametrize(
    ("before", "after", "change", "support"),
    [
        (alike(kernels()), kernels(), "better", "supported"),
        (kernels(), alike(kernels()), "worse", "contradicted"),
        (kernels(), scaled(kernels(), 2), "different", "undecided"),
        (kernels(), scaled(kernels(), 0.5), "different", "undecided"),
        (kernels(), scaled(alike(kernels()), 5), "worse", "contradicted"),
        (alike(kernels()), scaled(kernels(), 0.1), "different", "undecided"),
        (kernels(), kernels(), "same", "undecided"),
    ],
    ids=["varied", "alike", "doubled", "halved", "alike-but-larger", "varied-but-smaller", "unchanged"],
)
def test_divergence_counts_only_where_a_measure_free_of_scale_agrees(pair_of, before, after, change, support):
    section = SPECS["redundancy"]([
        pair_of("refocus", before, after, "redundancy"), pair_of("plain", before, before, "redundancy"),
    ])  # fmt: skip
    assert section.findings[0].change == change
    assert section.claim.verdicts["refocus"][0] == support


def test_doubled_kernels_are_said_to_have_grown(pair_of):
    section = of(pair_of("refocus", kernels(), scaled(kernels(), 2), "redundancy"))
    headline, free = section.findings
    assert "rises from" in headline.text
    assert "up in 8 of 8 layers" in headline.text
    assert "the weights grew" in headline.text
    assert free.change == "same"
    assert "the weights grew" in section.claim.verdicts["refocus"][1]


def test_a_gain_is_seen_beside_plain_training(pair_of):
    start = alike(kernels())
    refocus = pair_of("refocus", start, alike(kernels(), 0.4), "redundancy")
    plain = pair_of("plain", start, kernels(), "redundancy")
    section = SPECS["redundancy"]([plain, refocus])
    assert set(section.claim.verdicts) == {"refocus"}
    support, why = section.claim.verdicts["refocus"]
    assert support == "undecided"
    assert "plain training from the same start did better" in why
    assert section.findings[-1].pair == "refocus"
    assert section.findings[-1].change == "worse"


def test_plain_training_alone_makes_no_claim(pair_of):
    assert of(pair_of("plain", kernels(), alike(kernels()), "redundancy")).claim is None


def test_layers_of_one_channel_have_nothing_to_compare(pair_of):
    one = [torch.ones(1, 1, 3, 3)]
    section = of(pair_of("refocus", one, scaled(one, 3), "redundancy"))
    assert section.findings[0].text == "No layer has two channels to compare."
    assert section.findings[0].change == "unclear"
    assert section.claim.verdicts["refocus"][0] == "undecided"
    assert not [figure for figure in section.figures if figure.choice == "layer"]
    assert any("Without a second channel to compare with: 0." in note for note in section.notes)


def test_one_layer_tells_no_direction(pair_of):
    section = of(pair_of("refocus", kernels()[:1], alike(kernels()[:1]), "redundancy"))
    assert section.findings[0].change == "unclear"
    assert section.findings[0].text.startswith("The divergence falls from")


def test_matrices_are_drawn_for_few_layers_and_tables_hold_all(pair_of):
    many = kernels() * 3
    section = of(pair_of("refocus", many, scaled(many, 2), "redundancy"))
    matrices = [figure for figure in section.figures if figure.choice == "layer"]
    assert [figure.option for figure in matrices][::15] == ["0", "23"]
    assert len(matrices) == 16
    assert len(section.figures[0].table.rows) == 24
    assert "A matrix is drawn for 16 of 24 layers, at even distances from the first to the last." in section.notes
