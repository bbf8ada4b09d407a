import dataclasses
import re

from improvement_records import record, with_share
from refconv.improvement.page import _search, write_page
from refconv.improvement.record import FinalScores, ImproveRecord
from refconv.improvement.verdict import markdown, result_table, verdict


def test_the_verdict_says_what_was_gained_and_what_of_it_is_refocusing():
    said = record().verdict
    assert said.startswith("top-1 80.00 to 90.00% (+10.00 points, 95 % interval +6.87 to +13.13)")
    assert "on 1,000 test samples, by refocus lr 0.03." in said
    assert "one run each: +2.00 points, 95 % interval -0.78 to +4.78, no clear difference." in said


def test_a_clear_difference_is_not_called_unclear():
    assert "no clear difference" not in record(refocused=0.97).verdict
    assert "one run each: -18.00 points" in record(refocused=0.7).verdict


def test_a_network_that_stays_as_it_was_is_said_to():
    assert record("base").verdict.startswith("No training is better than the network as it was beyond noise")


def test_without_a_test_split_the_samples_are_called_by_their_name():
    whole = record()
    tested = FinalScores("val", with_share(0.8), with_share(0.9, seed=2))
    assert "on 1,000 validation samples" in verdict(whole.candidates[2], tested, "classification")
    assert "At equal cost" not in verdict(whole.candidates[2], tested, "classification")


def test_the_table_has_a_row_for_each_and_its_change():
    header, *rows = result_table(record())
    assert all(len(row) == len(header) for row in rows)
    assert [row[0].partition(":")[0] for row in rows] == [
        "the network as it was", "best run without refocusing", "best run with refocusing", "result",
    ]  # fmt: skip
    assert rows[0][2:5] == ("", "", "")
    assert rows[-1][1] == "90.00"
    assert rows[-1][2] == "+10.00"
    assert rows[-1][4] == "< 0.001"


def test_the_record_comes_back_from_json():
    assert ImproveRecord.from_json(record().to_json()) == record()


def test_the_page_begins_with_the_verdict_and_has_everything(tmp_path):
    write_page(record(), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    text = page.replace("\N{NO-BREAK SPACE}", " ")
    assert re.search(r"<h1>Top-1 80\.00 to 90\.00% \(\+10\.00 points", text)
    for words in (
        "At equal cost, the best refocused run minus", "best run without refocusing: plain lr 0.01", "refconv eval",
        "boom", "plain-taught: no teacher", "9 epochs, 900 samples; 880 were used", "structure  the same", "digits",
    ):  # fmt: skip
        assert words in text, words
    assert "http" not in re.sub(r"http-equiv|xmlns=\S+", "", page)


def test_markdown_holds_table_verdict_and_certificate():
    text = markdown(record())
    assert text.startswith("| on 1,000 test samples | top-1, % |")
    assert record().verdict in text
    assert text.rstrip().endswith("```")


def test_the_page_names_the_best_run_where_less_is_better(tmp_path):
    found = record()
    scored = dataclasses.replace(found.plan.base, measure="mae", hits="", losses=(), blocks=(2.0, 2.1, 1.9))
    tried = tuple(
        dataclasses.replace(one, value=value, message="") for one, value in zip(found.tried, (3.0, 2.0), strict=True)
    )
    drawn = _search(
        dataclasses.replace(found, task="regression", tried=tried, plan=dataclasses.replace(found.plan, base=scored))
    )
    assert drawn.caption.endswith(f"the best is {tried[1].entry}.")


def test_two_runs_that_lost_are_not_taken_for_evidence():
    """Refocusing may win against plain training where both spoil the network."""
    lost = record(refocused=0.7, unrefocused=0.6).verdict
    assert lost.endswith("Both are worse than the network as it was.")
    assert "Both are worse" not in record(refocused=0.7).verdict
