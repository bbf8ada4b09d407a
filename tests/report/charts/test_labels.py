"""Shortened names and places of labels."""

from refconv.report.charts.labels import Places, abbreviate, wrap


def test_short_names_stay_different_where_they_can():
    names = [f"features.{i}.denselayer{j}.conv2" for i in range(3) for j in range(12)]
    short = abbreviate(names, 20)
    assert len(set(short)) == len(names)
    assert max(map(len, short)) == 20


def test_names_that_differ_beyond_the_limit_are_cut_all_the_same():
    names = [f"{'a' * 20}{i}{'b' * 20}" for i in range(3)]
    assert all(len(one) == 9 for one in abbreviate(names, 9))


def test_words_stay_whole_in_lines():
    assert wrap("one two three", 60) == ["one two", "three"]
    assert wrap("unbreakable", 10) is None


def test_a_place_is_taken_once():
    places = Places()
    assert places.take(0, 0, 4, 4)
    assert not places.take(3, 3, 4, 4)
    assert places.take(4, 0, 4, 4)
