"""A study's record says how its measures were computed, and mixes no two definitions."""

from pathlib import Path

import pytest

from refconv.engine.run_record import RunRecord
from refconv.errors import RunError
from refconv.studies import Comparison
from refconv.studies.comparison import MEASURES, Gain
from refconv.studies.journal import Journal
from refconv.studies.pages import notes
from refconv.studies.summary import _definitions, gain_of

RECORDS = Path(__file__).resolve().parents[2] / "studies" / "records"


def test_runs_that_were_compared_in_other_channels_are_not_put_together(tmp_path):
    out = tmp_path / "out"
    Journal(RECORDS / "restoration.runs.jsonl", out).restore()
    records = [RunRecord.read(path) for path in sorted(out.rglob("record.json"))]
    measures = [MEASURES["psnr"], MEASURES["loss"]]
    assert _definitions(records, measures) == {"psnr": "RGB of 8-bit images, mean over images"}
    silent = [RunRecord.from_dict({**record.to_dict(), "definitions": {}}) for record in records]
    assert _definitions(silent, measures) == {}  # of an earlier version: luma, as the note says
    with pytest.raises(RunError, match=r"psnr: .* compute psnr in different ways; expected one .* found RGB .* luma"):
        _definitions([records[0], silent[1]], measures)


def test_a_cell_says_what_its_runs_made_of_the_start_if_all_of_them_know(tmp_path):
    out = tmp_path / "out"
    Journal(RECORDS / "adaptation_few.runs.jsonl", out).restore()
    records = [RunRecord.read(path) for path in sorted(out.glob("final/resnet20/refocus/*/*/record.json"))]
    found = gain_of(records)
    courses = [record.course for record in records]
    assert len(courses) == 5
    assert found == Gain("top1", "val", 1000, (0.817,) * 5, tuple(course.end for course in courses))
    assert found.differences == tuple(course.end - 0.817 for course in courses)
    silent = RunRecord.from_dict({**records[0].to_dict(), "course": None})
    assert gain_of([silent, *records[1:]]) is None
    other = RunRecord.from_dict({**records[0].to_dict(), "course": {**courses[0].to_dict(), "samples": 10}})
    assert gain_of([other, *records[1:]]) is None


def test_the_page_names_the_channel():
    lines = notes(Comparison.read(RECORDS / "restoration.json"))
    assert "PSNR: RGB of 8-bit images, mean over images." in lines
    assert not any(line.startswith("PSNR: luma") for line in lines)
