"""Directions over layers, against binomials by hand."""

import pytest

from refconv.measures.layers import Direction, as_change, change_of, direction, tally


@pytest.mark.parametrize(
    ("risen", "fallen", "p"),
    [
        (0, 0, 1),
        (1, 0, 1),  # 2 / 2
        (5, 0, 2 / 32),
        (6, 0, 2 / 64),
        (0, 6, 2 / 64),
        (7, 1, 2 * (1 + 8) / 256),
        (9, 2, 2 * (1 + 11 + 55) / 2048),
        (4, 4, 1),  # the middle counts on both sides, so that the sum is more than 1
    ],
)
def test_sign_test_is_twice_the_tail_of_the_coin(risen, fallen, p):
    assert Direction(None, None, risen, fallen, 0, 1.0).p == p


def grown(risen, fallen, level=0, by=0.5):
    return [(1.0, 1.0 + by)] * risen + [(1.0, 1.0 - by)] * fallen + [(1.0, 1.0)] * level


@pytest.mark.parametrize(
    ("values", "way"),
    [
        (grown(6, 0), "up"),
        (grown(0, 6), "down"),
        (grown(5, 0), "unclear"),  # p = 0.0625
        (grown(8, 1), "up"),  # p = 0.039
        (grown(7, 1), "unclear"),  # p = 0.070
        (grown(20, 0, by=0.0099), "same"),
        (grown(20, 0, by=0.0101), "up"),
        (grown(0, 0, level=3), "same"),
        (grown(6, 0, level=7), "same"),  # most layers did not change at all
        ([], "unclear"),
        ([(None, 1.0), (1.0, None)], "unclear"),
        ([(0.0, 0.1)] * 6, "up"),  # from nothing is more than 1 %
        ([(-1.0, -2.0)] * 6, "down"),
    ],
)
def test_way_takes_the_test_and_a_change_that_counts(values, way):
    assert direction(values).way == way


def test_layers_without_the_number_in_both_models_do_not_count():
    found = direction([(1.0, 3.0), (None, 100.0), (100.0, None)])
    assert (found.before, found.after, found.layers) == (1.0, 3.0, 1)


def test_a_mean_that_goes_the_other_way_leaves_it_unclear():
    found = direction([(1.0, 1.1)] * 9 + [(10.0, 1.0)])
    assert found.p < 0.05
    assert found.way == "unclear"
    assert tally(found) == "up in 9 of 10 layers and down in 1, while the mean went the other way"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "defined in no layer of both models"),
        (grown(1, 0), "up in the only layer, too few layers to tell a direction"),
        (grown(0, 1, by=0.005), "down in the only layer, by 0.50 %: too little to count"),
        (grown(0, 0, level=1), "the same in the only layer"),
        (grown(0, 0, level=2), "the same in all 2 layers"),
        (grown(0, 8), "down in 8 of 8 layers, p = 0.0078"),
        (grown(0, 11), "down in 11 of 11 layers, p < 0.001"),
        (grown(7, 1), "up in 7 of 8 layers and down in 1, p = 0.07, no clear direction"),
        (grown(0, 9, by=0.001), "down in 9 of 9 layers, by 0.10 % in the median layer: too little to count"),
    ],
)
def test_tally_says_what_the_way_rests_on(values, words):
    assert tally(direction(values)) == words


def test_tally_takes_words_for_comparisons():
    assert tally(direction(grown(2, 5)), "higher", "lower").startswith("higher in 2 of 7 layers and lower in 5, p =")


@pytest.mark.parametrize(
    ("way", "good", "change"),
    [("down", "down", "better"), ("up", "down", "worse"), ("down", None, "different"), ("unclear", "up", "unclear")],
)
def test_change_has_a_value_only_where_a_way_is_good(way, good, change):
    assert as_change(way, good) == change


def test_negligible_is_relative_to_what_was():
    assert change_of(100.0, 100.9) == "same"
    assert change_of(0.1, 0.102) == "different"
    assert change_of(0.0, 1e-9) == "different"
