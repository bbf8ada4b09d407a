"""Writing: what does not belong together is refused in a line; the file appears whole or not at all; it stays small."""

import subprocess
import sys
from pathlib import Path

import pytest

from refconv.errors import RunError
from refconv.report import read_pair, write_report, writing
from refconv.report.elements import Figure, Table
from refconv.report.writing import check_page_place, thinned
from report_pairs import drawing, pair, run, section

ROOT = Path(__file__).resolve().parents[2]


def pictures(count, size=0, choice="layer"):
    table = Table("Numbers", ("tap", "value"), (("0", "1"),))
    return tuple(Figure(drawing(size), f"Picture {i}.", "", table, choice, f"conv{i}") for i in range(count))


def test_report_is_written_and_said(tmp_path):
    path = tmp_path / "new" / "report.html"
    runs = {"before_run": run("plain", top1=0.4), "after_run": run(top1=0.5)}
    report = write_report([pair(**runs)], path, title="Mine", sections=[section, lambda pairs: None])
    text = path.read_bytes()
    assert b"<title>Mine</title>" in text
    assert report.sections == ("redundancy",)
    assert report.size == len(text)
    said = str(report).splitlines()
    assert said[0].startswith("refocus: top-1 accuracy from 40.00 % to 50.00 %, +10.00 points")
    assert said[1].startswith(f"{path}: 1 measure, ")
    assert list(path.parent.iterdir()) == [path]


def test_title_names_the_model(tmp_path):
    write_report([pair()], tmp_path / "report.html", sections=[])
    assert "<title>What changed in tiny</title>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_all_measures_are_the_default(pairs, tmp_path):
    from refconv.report.sections import SECTIONS

    report = write_report(pairs, tmp_path / "report.html")
    assert len(report.sections) > len(SECTIONS) / 2
    assert report.size < 5_000_000


def test_pairs_of_one_name_are_numbered(tmp_path):
    named = writing.numbered([pair("refocus"), pair("refocus"), pair("refocus 2"), pair("plain")])
    assert [one.name for one in named] == ["refocus", "refocus 2", "refocus 2 2", "plain"]
    seen = []
    write_report([pair(), pair()], tmp_path / "r.html", sections=[lambda pairs: seen.extend(p.name for p in pairs)])
    assert seen == ["refocus", "refocus 2"]


def other(**changes):
    one = pair("plain")
    return pair("plain", before={**one.facts.before.to_dict(), **changes.pop("before", {})}, **changes)


@pytest.mark.parametrize(
    ("pairs", "line"),
    [
        ([], "report: cannot report on these pairs; expected 1 to 6, found 0"),
        ([pair() for _ in range(7)], "report: cannot report on these pairs; expected 1 to 6, found 7"),
        ([pair(), other(model="resnet18")], "plain: another architecture than refocus; expected tests.networks:tiny,"),
        ([pair(), other(task="detection")], "plain: another task than refocus; expected classification, found detect"),
        (
            [pair(), other(before={"fingerprint": "cc" * 32})],
            "plain: another start than refocus; expected runs/base (weights aaaaaaaaaaaa), found runs/base (weights cc",
        ),
    ],
)
def test_pairs_that_do_not_belong_together_are_refused(tmp_path, pairs, line):
    with pytest.raises(RunError) as refused:
        write_report(pairs, tmp_path / "report.html", sections=[])
    assert str(refused.value).startswith(line)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (IndexError("list index out of range"), RunError),
        (ZeroDivisionError("division by zero"), RunError),
        (TypeError("of a bug"), TypeError),
    ],
    ids=["index", "division", "bug"],
)
def test_contradictions_are_a_line_and_bugs_stay_bugs(error, kind, tmp_path):
    def draws(pairs):
        raise error

    with pytest.raises(kind, match="numbers of an analysis contradict" if kind is RunError else "of a bug"):
        write_report([pair()], tmp_path / "report.html", sections=[draws])


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_report([pair()], path, sections=[])
    old = path.read_text()

    def fail(self, target):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunError, match="cannot write the report; found no space left"):
        write_report([pair()], path, sections=[])
    assert path.read_text() == old
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ['{"architecture": "resnet18"}', "<!DOCTYPE html>\n<html>my page</html>"])
def test_only_an_earlier_report_is_replaced(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(RunError, match="config.json: holds something other than a report; give another file"):
        write_report([pair()], path, sections=[])
    assert path.read_text() == content
    path.write_text("")  # an empty file is nothing to lose
    for _ in range(2):
        write_report([pair()], path, sections=[])
    for shipped in (ROOT / "docs/reports").glob("*.html"):  # of earlier versions too
        check_page_place(shipped)


def test_options_are_left_out_until_the_page_is_small(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "LIMIT", 200_000)

    def kernels(pairs):
        return section(pairs, "kernels", figures=(*pictures(1, choice=None), *pictures(40, 10_000)))

    report = write_report([pair()], tmp_path / "report.html", sections=[kernels])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert report.size <= 200_000
    shown = text.count('class="option"')
    assert 5 <= shown <= 15
    assert f"Of each layer in the analysis, every few are shown here, {shown} in all" in text
    assert "<summary>conv0</summary>" in text
    assert text.count("Of each layer") == 1


def test_a_page_that_cannot_be_made_small_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "LIMIT", 200_000)
    with pytest.raises(RunError, match=r"the page is too large; expected at most 0\.2 MB, found 0\.[4-9] MB"):
        write_report([pair()], tmp_path / "r.html", sections=[lambda p: section(p, figures=pictures(2, 200_000))])


def test_the_largest_choice_is_thinned_and_nothing_else():
    pairs = [pair()]
    few, many = section(pairs, figures=pictures(8, 10)), section(pairs, "kernels", figures=pictures(8, 1000))
    left = thinned([few, many])
    assert left[0] is few
    assert [figure.option for figure in left[1].figures] == ["conv0", "conv2", "conv4", "conv6"]
    assert thinned([section(pairs, figures=pictures(3))]) is None


def test_reports_need_no_torch():
    code = "import sys, refconv.report, refconv.report.sections; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False"], done.stderr


def test_styles_scripts_and_templates_are_in_the_wheel():
    wheel = pytest.importorskip("hatchling.builders.wheel")
    files = {file.distribution_path for file in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}
    folder = ROOT / "src" / "refconv" / "report"
    needed = [path for kind in ("*.css", "*.js", "*.j2") for path in folder.rglob(kind)]
    assert len(needed) >= 7
    assert {path.relative_to(ROOT / "src").as_posix() for path in needed} <= files


def test_face_reads_what_an_analysis_left(tmp_path):
    with pytest.raises(RunError, match="no analysis"):
        read_pair(tmp_path)
