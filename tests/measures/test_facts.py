"""Facts of an analysis: the record that writers and reports share, and what a report reads of the record of a run."""

import json

import pytest

from refconv.errors import RunError
from refconv.measures.facts import PairFacts, RunFacts
from refconv.report import read_pair
from report_pairs import pair, run


def test_facts_are_written_as_they_were_read():
    facts = pair(after_run=run(top1=0.5)).facts
    assert PairFacts.from_json(facts.to_json()) == facts
    assert json.loads(facts.to_json())["after"]["run"] == json.loads(json.dumps(run(top1=0.5)))


def test_what_a_report_reads_of_a_run_is_typed_and_the_rest_is_passed_over():
    found = pair(after_run=run(top1=0.5, measures={"ece": 0.1})).facts.after.training
    assert (found.measure("top1"), found.measure("ece"), found.measure("miou")) == (0.5, 0.1, None)
    assert found.certificate.kernels == 1
    assert not hasattr(found, "step_ms")
    assert RunFacts.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": 7}, "PairFacts.model: expected str, found 7"),
        (
            {"after": {"run": {"method": "refocus"}}},
            r"PairFacts.after: SideFacts.run: RunFacts: missing keys \['certif",
        ),
        ({"beside": 1}, r"PairFacts: missing keys \[\], surplus keys \['beside'\]"),
    ],
)
def test_damaged_facts_are_refused_in_one_line_that_names_the_file(tmp_path, change, said):
    (tmp_path / "pair.json").write_text(json.dumps({**pair().facts.to_dict(), **change}))
    line = f"pair.json: cannot read a record; found {said}.*; analyse again by this version"
    with pytest.raises(RunError, match=line) as refused:
        read_pair(tmp_path)
    assert "\n" not in str(refused.value)
