import report_records as made
from refconv.report.sections import SPECS
from refconv.report.sections.features import field_plane

section = SPECS["receptive_field"]


def pairs_of(before, after, **settings):
    return [made.pair(receptive_field=tuple(made.receptive_field(*radii, **settings) for radii in (before, after)))]


def test_radii_rise_fall_and_stay():
    found = section(pairs_of((2.0, 4.0, 6.0), (2.5, 4.0, 5.0))).findings[0]
    assert found.change == "different"
    assert "50 % of the energy rises from 2 to 2.5, that of 90 % of the energy stays at 4" in found.text
    assert "99 % of the energy falls from 6 to 5" in found.text


def test_radii_within_a_hundredth_are_the_same():
    assert section(pairs_of((2.0, 4.0, 6.0), (2.01, 4.0, 6.0))).findings[0].change == "same"
    assert section(pairs_of((2.0, 4.0, 6.0), (2.03, 4.0, 6.0))).findings[0].change == "different"


def test_one_dimension_is_drawn_as_a_line():
    assert "c-lines" in section(pairs_of((1.0, 2.0, 3.0), (1.0, 2.0, 3.0), shape=(5,))).figures[0].drawing
    assert "c-heat" in section(pairs_of((1.0, 2.0, 3.0), (1.0, 2.0, 3.0), shape=(5, 4))).figures[0].drawing


def test_of_three_dimensions_the_middle_plane_is_drawn():
    figure = section(pairs_of((1.0, 2.0, 3.0), (1.0, 2.0, 3.0), shape=(3, 2, 2))).figures[0]
    assert "middle plane" in figure.caption
    record = made.receptive_field(1.0, 2.0, 3.0, shape=(3, 2, 2))
    assert field_plane(record) == [[4 / 12, 5 / 12], [6 / 12, 7 / 12]]


def test_field_that_reaches_the_border_is_noted():
    record = made.receptive_field(1.0, 2.0, 3.0)
    whole = made.receptive_field(1.0, 2.0, 3.0, size=9)
    assert not any("border" in note for note in section([made.pair(receptive_field=(record, whole))]).notes)
    reaching = type(record)(**{**vars(record), "extent": (8, 8)})
    assert any("border" in note for note in section([made.pair(receptive_field=(record, reaching))]).notes)


def test_pairs_are_compared_at_the_middle_share():
    start = made.receptive_field(1.0, 2.0, 3.0)
    pairs = [
        made.plain(receptive_field=(start, made.receptive_field(1.0, 2.0, 3.0))),
        made.pair(receptive_field=(start, made.receptive_field(1.0, 2.5, 3.0))),
    ]
    assert "90 % of the energy is, in pixels, 2.5, higher than the 2 of plain" in section(pairs).findings[-1].text
