import report_records as made
from refconv.report.sections import SPECS
from refconv.report.sections.features import ROWS

section = SPECS["similarity"]


def test_least_alike_layer_is_named():
    found = section([made.pair(similarity=made.similarity(0.9, 0.4, None))])
    assert found.findings[0].change == "different"
    assert "2 layers agree with a mean CKA of 0.65; least alike are those of b, 0.4" in found.findings[0].text
    assert found.figures[0].table.rows[2] == ("c", "–")


def test_features_that_hardly_differ_are_the_same():
    assert section([made.pair(similarity=made.similarity(0.995, 0.985))]).findings[0].change == "same"
    assert section([made.pair(similarity=made.similarity(0.995, 0.97))]).findings[0].change == "different"


def test_single_layer_is_in_the_singular():
    text = section([made.pair(similarity=made.similarity(0.5))]).findings[0].text
    assert text == "The features of a, the only layer compared, agree with a CKA of 0.5."


def test_constant_features_leave_it_open():
    pairs = [made.plain(similarity=made.similarity(0.5)), made.pair(similarity=made.similarity(None))]
    found = section(pairs)
    assert [finding.change for finding in found.findings] == ["different", "unclear", "unclear"]


def test_pairs_are_compared_layer_by_layer():
    pairs = [made.plain(similarity=made.similarity(0.9, 0.5)), made.pair(similarity=made.similarity(0.8, 0.9))]
    text = section(pairs).findings[-1].text
    assert "0.85, higher than the 0.7 of plain" in text
    assert "farther from the start in 1 of 2 layers" in text


def test_matrix_table_names_the_most_alike_layer():
    rows = section([made.pair(similarity=made.similarity(0.9, 0.05))]).figures[1].table.rows
    assert rows == (("refocus", "a", "0.9", "a", "0.9"), ("refocus", "b", "0.05", "a", "0.1"))


def test_many_layers_become_a_line(monkeypatch):
    monkeypatch.setattr("refconv.report.sections.features.ROWS", 2)
    assert ROWS > 2
    few = section([made.pair(similarity=made.similarity(0.9, 0.5))]).figures[0]
    many = section([made.pair(similarity=made.similarity(0.9, 0.5, 0.4))]).figures[0]
    assert "c-dots" in few.drawing
    assert "c-lines" in many.drawing
