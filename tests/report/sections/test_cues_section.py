"""Shape and texture: told by the samples that went from one cue to the other."""

import report_records as made
from refconv.measures.cues import CueConflict, Cues
from refconv.report import read_pair
from refconv.report.sections import SPECS


def cues(to_shape, to_texture, samples=100):
    before = Cues(20, 60, 20)
    after = Cues(20 + to_shape - to_texture, 60 - to_shape + to_texture, 20)
    return CueConflict(samples, False, before, after, to_shape, to_texture)


def test_a_share_that_moves_beyond_chance_is_told_and_not_judged():
    (found,) = SPECS["cues"]([made.pair(cues=cues(20, 2))]).findings
    assert found.text == (
        "The share of shape in decisions for one of the two cues rises from 25.0 % to 47.5 %: 20 samples went from "
        "texture to shape and 2 back (McNemar's p = 0.00012)."
    )
    assert found.change == "different"
    assert SPECS["cues"]([made.pair(cues=cues(4, 2))]).findings[0].change == "unclear"
    assert SPECS["cues"]([made.pair(cues=cues(0, 0))]).findings[0].change == "same"


def test_pairs_are_compared_by_their_shares():
    found = SPECS["cues"]([made.plain(cues=cues(0, 10)), made.pair(cues=cues(30, 0))])
    assert found.findings[-1].text == "After refocus the share of shape is 62.5 %, higher than the 12.5 % of plain."
    assert found.findings[-1].change == "different"
    assert found.figures[0].table.header == ("decision", "before", "plain", "refocus")
    assert found.figures[0].table.rows[0] == ("shape", "20", "10", "50")


def test_a_record_that_the_user_wrote_into_an_analysis_is_read(tmp_path):
    pair = made.pair()
    pair.facts.write(tmp_path / "pair.json")
    cues(20, 2).write(tmp_path / "cues.json")
    assert SPECS["cues"]([read_pair(tmp_path, "refocus")]).findings[0].change == "different"
