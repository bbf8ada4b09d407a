import report_records as made
from refconv.report.sections import SPECS

section = SPECS["attention"]

LEFT, RIGHT, NOTHING = (1.0, 0.5, 0.0), (0.0, 0.5, 1.0), (0.0, 0.0, 0.0)


def found(*maps):
    return section([made.pair(attention=made.attention(*maps))])


def test_maps_are_compared_by_correlation():
    shown = made.attention((LEFT, RIGHT), (LEFT, NOTHING), (LEFT, (0.0, 1.0))).shown
    assert round(shown[0].correlation, 9) == -1
    assert [image.correlation for image in shown[1:]] == [None, None]  # constant, and of another size


def test_same_maps_other_maps_and_none():
    assert found((LEFT, LEFT), (RIGHT, RIGHT)).findings[0].change == "same"
    other = found((LEFT, LEFT), (LEFT, RIGHT)).findings[0]
    assert other.change == "different"
    assert "On 2 chosen images the maps before and after correlate with 0 on average, between −1 and 1" in other.text
    assert found((LEFT, NOTHING)).findings[0].change == "unclear"


def test_single_image_is_in_the_singular():
    assert found((LEFT, LEFT), (NOTHING, LEFT)).findings[0].text.startswith("On 1 chosen image with two maps")


def test_figure_names_true_class_and_what_models_say():
    figure = found((LEFT, RIGHT)).figures[0]
    assert (figure.choice, figure.option) == ("image", "7: bee")
    assert figure.table.rows == (("before", "bee", "yes", "75.0 %", "–"), ("refocus", "ant", "no", "50.0 %", "−1"))
    assert "refocus: ant, 50 %" in figure.alt


def test_images_of_several_pairs_stand_in_one_row():
    pairs = [
        made.plain(attention=made.attention((LEFT, LEFT))),
        made.pair(attention=made.attention((LEFT, RIGHT), (LEFT, LEFT))),
    ]
    section_ = section(pairs)
    assert [[row[0] for row in figure.table.rows] for figure in section_.figures] == [
        ["before", "plain", "refocus"],
        ["before", "refocus"],
    ]
    assert "images chosen for each pair" in section_.findings[-1].text
