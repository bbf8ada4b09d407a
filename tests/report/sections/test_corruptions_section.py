import report_records as made
from refconv.report.sections import SPECS

section = SPECS["corruptions"]


def pairs_of(before, after, **settings):
    return [made.pair(corruptions=(made.corruptions(**before, **settings), made.corruptions(**after, **settings)))]


def test_gain_that_clean_accuracy_has_too_is_no_robustness():
    before, after = {"contrast": (0.8, 0.6, 0.5)}, {"contrast": (0.9, 0.7, 0.6)}
    assert section(pairs_of(before, after)).findings[0].change == "same"
    assert section(pairs_of(before, {"contrast": (0.8, 0.7, 0.65)})).findings[0].change == "better"
    assert section(pairs_of(before, {"contrast": (0.8, 0.5, 0.4)})).findings[0].change == "worse"


def test_mean_is_over_kinds_and_strengths_above_zero():
    before = {"contrast": (0.8, 0.6, 0.4), "brightness": (0.8, 0.8, 0.6)}
    text = section(pairs_of(before, before)).findings[0].text
    assert "takes 20.0 points of accuracy before (80.0 % to 60.0 %)" in text
    assert "no difference" in text


def test_kind_that_changed_most_is_named():
    before = {"contrast": (0.8, 0.6), "jpeg_compression": (0.8, 0.6)}
    after = {"contrast": (0.8, 0.62), "jpeg_compression": (0.8, 0.4)}
    found = section(pairs_of(before, after)).findings[1]
    assert found.text.startswith("The cost changed most for JPEG compression, which takes 20.0 points")
    assert found.change == "worse"


def test_one_kind_has_no_kind_that_changed_most():
    assert len(section(pairs_of({"contrast": (0.8, 0.6)}, {"contrast": (0.8, 0.5)})).findings) == 1


def test_only_kinds_of_all_models_count():
    before = {"contrast": (0.8, 0.6), "jpeg_compression": (0.8, 0.1)}
    found = section(
        pairs_of(before, {"contrast": (0.8, 0.6)}, left_out={"jpeg_compression": "JPEG takes one or three"})
    )
    assert "(80.0 % to 60.0 %)" in found.findings[0].text
    assert [figure.option for figure in found.figures] == [None, "less contrast"]
    assert "Without JPEG compression: JPEG takes one or three." in found.notes


def test_nothing_in_common_is_said():
    found = section(pairs_of({"contrast": (0.8, 0.6)}, {"brightness": (0.8, 0.6)}))
    assert found.figures == ()
    assert "no corruption in common" in found.findings[0].text


def test_a_picture_per_corruption_is_one_option_of_a_choice():
    kinds = {"contrast": (0.8, 0.6), "brightness": (0.8, 0.7)}
    figures = section(pairs_of(kinds, kinds)).figures
    assert [(figure.choice, figure.option) for figure in figures] == [
        (None, None),
        ("corruption", "less contrast"),
        ("corruption", "more brightness"),
    ]
    assert figures[0].table.rows[-1] == ("all", "65.0 %", "65.0 %")
