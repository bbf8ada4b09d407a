"""Records and verdicts of measures: complete, read without torch, and refused in one line when damaged."""

import json
import subprocess
import sys

import pytest

import report_records as made
from refconv.analysis.registry import DATA_MEASURES, WEIGHT_MEASURES
from refconv.errors import RunError
from refconv.measures.pairs import RECORDS, ModelPair
from refconv.measures.verdicts import VERDICTS, judgements
from refconv.report import read_pair


def test_every_measure_has_a_record_and_a_verdict():
    assert set(RECORDS) == {*WEIGHT_MEASURES, *DATA_MEASURES, "scores", "cues"}
    read = {name for verdict in VERDICTS.values() for name in (verdict.name, *verdict.more)}
    assert read == set(RECORDS)


def test_records_and_verdicts_need_no_torch():
    code = "import sys, refconv.measures.verdicts; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False"], done.stderr


def test_judgements_are_findings_and_claims_as_json():
    pairs = [
        made.plain(agreement=made.agreement(0, 0, both=65, neither=70)),
        made.pair(agreement=made.agreement(30, 5)),
    ]
    found = judgements(pairs)
    assert list(found) == ["agreement"]
    plain = json.loads(found["agreement"].to_json())
    first = next(finding for finding in plain["findings"] if finding["pair"] == "refocus")
    assert first["change"] == "better"
    assert first["p"] < 0.001
    assert plain["claim"]["verdicts"]["refocus"][0] == "supported"


def test_too_few_samples_are_not_judged():
    (found,) = judgements([made.pair(agreement=made.agreement(5, 1, both=20, neither=20))]).values()
    assert [finding.text for finding in found.findings] == ["Too few samples to say: 46, and it takes 60."]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"samples": "many"}, "Agreement.samples: expected int, found 'many'"),
        ({"more": 1}, "Agreement: missing keys [], surplus keys ['more']"),
    ],
)
def test_a_damaged_record_is_refused_in_one_line(tmp_path, change, said):
    record = {**made.agreement(3, 1).to_dict(), **change}
    (tmp_path / "pair.json").write_text(json.dumps({"before": {}, "after": {"method": "refocus"}}))
    (tmp_path / "agreement.json").write_text(json.dumps(record))
    with pytest.raises(RunError) as refused:
        read_pair(tmp_path)
    line = f"{tmp_path / 'agreement.json'}: cannot read a record; found {said}; analyse again by this version"
    assert str(refused.value) == line


def test_what_is_no_record_of_a_measure_is_left_out():
    assert ModelPair("refocus", {"before": {}, "after": {}}, {"notes": {"a": 1}}).records == {}
