"""Analyses: the records of the library, the facts of the models, what is left out and why, and what is reused."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from refconv import analysis
from refconv.analysis import registry, timing
from refconv.analysis.analysing import Display, analyse, begun, open_couple
from refconv.analysis.evidence import AnalysisConfig, open_evidence
from refconv.analysis.keeping import Analysis, reusable
from refconv.analysis.registry import DATA_MEASURES, WEIGHT_MEASURES
from refconv.errors import DataError, ModelError, SettingError
from refconv.measures.agreement import Agreement
from refconv.measures.facts import PairFacts
from refconv.process.interruption import StoppedError
from refconv.surgery import merged
from refconv.surgery.refocusing import transformed
from run_checkpoints import save_run, small_recipe

QUICK = ("agreement", "calibration")


@pytest.fixture
def runs(tmp_path):
    torch.manual_seed(0)
    before = save_run(tmp_path / "before", small_recipe(method="plain"))
    after = save_run(tmp_path / "after", small_recipe())
    return str(tmp_path / "before"), str(tmp_path / "after"), before, merged(after)


@pytest.fixture
def couple(runs):
    return open_couple(*runs[:2])


class Heard(Display):
    def __init__(self):
        super().__init__(show=False)
        self.begun, self.told, self.said = [], [], []

    def say(self, line):
        self.said.append(line)

    def begin(self, name, number, count):
        self.begun.append((name, number, count))

    def progress(self, done, total):
        self.told.append((self.begun[-1][0], done, total))


def with_data(**more):
    return AnalysisConfig(**{"data": "digits", "samples": 40, "device": "cpu", "only": ("movement", *QUICK), **more})


def test_weights_alone_give_the_records_of_the_library(runs, couple):
    found = analyse(couple, AnalysisConfig(include=("blocks.0.*",)))
    assert list(found.records) == list(found.facts.measured) == list(WEIGHT_MEASURES)
    assert found.records["movement"] == analysis.movement(*runs[2:], include=["blocks.0.*"])
    assert (found.facts.data, found.facts.left_out, found.facts.include) == (None, {}, ("blocks.0.*",))
    assert all(seconds >= 0 for seconds in found.facts.measured.values())


def test_facts_say_what_was_compared(runs, couple):
    facts = analyse(couple, with_data(seconds=30.0)).facts
    assert (facts.before.reference, facts.after.reference) == runs[:2]
    assert (facts.before.method, facts.before.space) == ("plain", None)
    assert (facts.after.method, facts.after.space, facts.after.run) == ("refocus", "kernel", None)
    assert facts.after.parameters == sum(value.numel() for value in runs[3].parameters())
    assert facts.before.fingerprint != facts.after.fingerprint == open_couple(*runs[:2]).after.fingerprint
    assert not any(True for side in couple.opened for _ in transformed(side.model))
    assert facts.model == "refconv.models.networks:mobilenet_small"
    assert facts.class_names == tuple("0123456789")
    assert dataclasses.asdict(facts.data) == {
        "name": "digits", "split": "test", "max_samples": 40, "max_seconds": 30.0, "flags": {}, "root": None,
        "class_map": None,
    }  # fmt: skip
    assert facts.samples == {"agreement": 40, "calibration": 40}
    assert PairFacts.from_json(facts.to_json()) == facts


def test_progress_names_each_measure_and_how_far_it_is(couple):
    heard = Heard()
    analyse(couple, with_data(), display=heard)
    assert heard.begun == [("movement", 1, 3), ("agreement", 2, 3), ("calibration", 3, 3)]
    batches = (32, 40)
    told = [("calibration", done, 80) for done in (*batches, *(40 + done for done in batches))]
    assert heard.told == [*(("agreement", done, 40) for done in batches), *told]


def refuse(*arguments, **settings):
    raise ModelError("the loss cannot be differentiated twice", where="conv")


def out_of_memory(*arguments, **settings):
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_measure_that_does_not_apply_is_left_out_with_its_reason(couple, monkeypatch):
    monkeypatch.setitem(DATA_MEASURES, "calibration", refuse)
    monkeypatch.setitem(DATA_MEASURES, "agreement", out_of_memory)
    monkeypatch.setitem(WEIGHT_MEASURES, "relations", refuse)
    found = analyse(couple, with_data(only=("movement", "relations", *QUICK)))
    assert list(found.records) == list(found.facts.measured) == ["movement"]
    reason = "conv: the loss cannot be differentiated twice"
    assert found.facts.left_out == {
        "relations": reason, "agreement": "the device has too little memory", "calibration": reason,
    }  # fmt: skip
    with pytest.raises(ModelError, match=reason):
        analyse(couple, with_data(only=("calibration",)))


def test_signals_leave_out_what_needs_images(tmp_path, couple, monkeypatch):
    opened, _, data = open_evidence(couple.opened, with_data())
    monkeypatch.setattr(
        "refconv.analysis.analysing.open_evidence", lambda *a, **k: (opened, {"shifts": "no images"}, data)
    )
    found = analyse(couple, with_data(only=("agreement", "shifts")))
    assert (list(found.records), found.facts.left_out) == (["agreement"], {"shifts": "no images"})


def test_why_there_are_no_data_is_said_of_each_measure(couple):
    found = analyse(couple, AnalysisConfig(only=("movement", "attacks")), missing="no such data")
    assert (list(found.records), found.facts.left_out) == (["movement"], {"attacks": "no such data"})
    assert set(analyse(couple, AnalysisConfig(), missing="none").facts.left_out) == set(DATA_MEASURES)
    with pytest.raises(SettingError, match="--only: nothing is left to measure; found no such data"):
        analyse(couple, AnalysisConfig(only=("attacks",)), missing="no such data")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"only": ("colour",)}, "--only: no such measure; expected redundancy, .*, attacks, scores, found colour"),
        ({"split": "all"}, "--split: unknown split"),
        ({"seconds": 0.0}, "--seconds: no time; expected above 0, found 0"),
    ],
)
def test_questions_without_an_answer_are_refused_at_once(settings, message):
    with pytest.raises(SettingError, match=message):
        AnalysisConfig(**settings)


def test_mistakes_of_the_user_are_not_left_out(couple, runs, tmp_path):
    with pytest.raises(SettingError, match="--only: no such measure; .*, found attacks; give --data"):
        analyse(couple, AnalysisConfig(only=("movement", "attacks")))
    with pytest.raises(SettingError, match="nothing"):
        analyse(couple, AnalysisConfig(include=("nothing",)))
    with pytest.raises(DataError, match="no-such-data"):
        analyse(couple, with_data(data="no-such-data"))
    save_run(tmp_path / "other", small_recipe(model_kwargs={"width": 0.5}))
    with pytest.raises(ModelError, match="differ"):
        analyse(open_couple(runs[0], str(tmp_path / "other")), AnalysisConfig())


def test_data_of_other_classes_are_refused_before_anything_is_measured(couple):
    heard = Heard()
    for side in couple.opened:
        side.model.classifier = nn.Linear(side.model.classifier.in_features, 2)
    with pytest.raises(DataError, match="a target is no class of the model"):
        analyse(couple, with_data(), display=heard)
    assert heard.begun == []


def test_an_analysis_is_written_whole_and_old_records_go(tmp_path, couple):
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("shifts-before", "redundancy", "cues", "mine"):
        (folder / f"{name}.json").write_text("{}")
    analyse(couple, with_data()).write(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "agreement.json", "calibration-after.json", "calibration-before.json", "mine.json", "movement.json",
        "pair.json",
    ]  # fmt: skip


def test_what_was_measured_before_is_not_measured_again(tmp_path, couple):
    folder = tmp_path / "out"
    analyse(couple, with_data(only=("movement",)), keep=folder)
    heard = Heard()
    found = analyse(couple, with_data(), display=heard, keep=folder)
    assert [name for name, _, _ in heard.begun] == ["agreement", "calibration"]
    assert heard.said[1].startswith("1 of 3 measures are there already, of the same weights, data and settings; ")
    assert set(found.facts.measured) == {"movement", *QUICK}
    assert PairFacts.read(folder / "pair.json") == found.facts
    assert (folder / "movement.json").exists()
    assert analyse(couple, with_data(), keep=folder) == Analysis(found.facts)
    assert set(analyse(couple, with_data(), keep=folder, again=True).records) > {"movement", "agreement"}


def interrupt(*arguments, **settings):
    raise KeyboardInterrupt


def test_finished_measures_are_kept_at_a_stop_and_the_next_analysis_goes_on_with_them(tmp_path, couple, monkeypatch):
    folder, whole = tmp_path / "out", analyse(couple, with_data())
    with monkeypatch.context() as patched:
        patched.setitem(DATA_MEASURES, "calibration", interrupt)
        with pytest.raises(StoppedError) as stopped:
            analyse(couple, with_data(), keep=folder)
        assert str(stopped.value) == (
            f"{folder}: stopped; 2 of 3 measures are finished and kept; the same command goes on with the rest"
        )
        with pytest.raises(StoppedError, match="2 of 3 .*; the same command, without --again, goes on with the rest$"):
            analyse(couple, with_data(), keep=folder, again=True)
        with pytest.raises(StoppedError, match="^stopped, and no measure is kept; with --out FOLDER "):
            analyse(couple, with_data())
    facts = PairFacts.read(folder / "pair.json")
    assert facts.left_out == {"calibration": "not taken yet: the analysis has not finished"}
    heard = Heard()
    analyse(couple, with_data(), display=heard, keep=folder)
    assert [name for name, _, _ in heard.begun] == ["calibration"]
    assert PairFacts.read(folder / "pair.json").left_out == {}
    for name, record in whole.records.items():
        assert type(record).read(folder / f"{name}.json") == record


def test_a_stop_before_the_first_measure_leaves_another_analysis_whole(tmp_path, couple, runs, monkeypatch):
    folder = tmp_path / "out"
    other = analyse(open_couple(runs[1], runs[0]), with_data(only=("movement",)), keep=folder)
    monkeypatch.setitem(WEIGHT_MEASURES, "movement", interrupt)
    with pytest.raises(StoppedError, match="stopped before a measure was finished; the same command starts again$"):
        analyse(couple, with_data(), keep=folder)
    assert PairFacts.read(folder / "pair.json") == other.facts


def test_a_stop_while_a_measure_is_written_loses_that_one_alone(tmp_path, couple, monkeypatch):
    folder, write = tmp_path / "out", Agreement.write
    monkeypatch.setattr(Agreement, "write", lambda record, path: (write(record, path), interrupt()))
    with pytest.raises(StoppedError, match="stopped; 1 of 3 measures are finished and kept"):
        analyse(couple, with_data(), keep=folder)
    assert set(PairFacts.read(folder / "pair.json").measured) == {"movement"}


def test_measures_of_other_data_under_one_name_do_not_stand_beside_each_other(tmp_path, couple, monkeypatch):
    folder = tmp_path / "out"
    analyse(couple, with_data(only=("movement", "agreement")), keep=folder)
    monkeypatch.setattr("refconv.analysis.analysing.sampled", lambda data, splits: b"other images")
    heard = Heard()
    analyse(couple, with_data(), display=heard, keep=folder)
    assert [name for name, _, _ in heard.begun] == ["agreement", "calibration"]


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 39},
        {"split": "train"},
        {"data": None, "only": ()},
        {"include": ("blocks.*",)},
        {"seconds": 9.0},
        {"data_dir": "elsewhere"},
        {"class_map": "map.csv"},
        {"cue_conflict": "stimuli"},
    ],
    ids=str,
)
def test_other_questions_take_nothing_from_an_earlier_analysis(tmp_path, couple, change):
    analyse(couple, with_data(only=("movement",))).write(tmp_path / "out")
    assert reusable(tmp_path / "out", begun(couple, with_data(only=QUICK))) is not None
    assert reusable(tmp_path / "out", begun(couple, with_data(**change))) is None


def test_other_weights_and_damage_take_nothing_from_an_earlier_analysis(tmp_path, couple, runs):
    folder = tmp_path / "out"
    assert reusable(folder, begun(couple, with_data())) is None
    analyse(couple, with_data()).write(folder)
    assert set(reusable(folder, begun(couple, with_data())).measured) == {"movement", *QUICK}
    assert reusable(folder, begun(open_couple(runs[1], runs[0]), with_data())) is None
    (folder / "movement.json").write_text("{")
    (folder / "calibration-after.json").unlink()
    assert set(reusable(folder, begun(couple, with_data())).measured) == {"agreement"}
    facts = json.loads((folder / "pair.json").read_text())
    (folder / "pair.json").write_text(json.dumps({**facts, "versions": {"refconv": "0.0.0"}}))
    assert reusable(folder, begun(couple, with_data())) is None
    (folder / "pair.json").write_text(json.dumps({**facts, "surplus": 1}))
    assert reusable(folder, begun(couple, with_data())) is None


def test_pairs_side_by_side_are_measured_on_as_many_samples(tmp_path, couple):
    first = analyse(couple, with_data(samples=24)).facts
    found = analyse(couple, with_data(seconds=60.0), beside=first)
    assert found.facts.samples == {"agreement": 24, "calibration": 24}
    assert found.records["calibration-after"].samples == 24
    found.write(tmp_path / "out")
    questions = with_data(seconds=60.0)
    assert set(reusable(tmp_path / "out", begun(couple, questions), beside=first).measured) == {"movement", *QUICK}
    other = dataclasses.replace(first, samples={"agreement": 16, "calibration": 24})
    assert set(reusable(tmp_path / "out", begun(couple, questions), beside=other).measured) == {
        "movement",
        "calibration",
    }


def test_what_too_little_time_was_left_for_is_left_out_and_taken_the_next_time(tmp_path, couple, monkeypatch):
    now = 0.0

    def clock():  # a second passes between any two looks
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr(timing, "clock", clock)
    questions = with_data(seconds=8.0, only=("movement", "attacks", "agreement"))
    found = analyse(couple, questions, keep=tmp_path / "out")
    assert list(found.records) == ["movement", "agreement"]
    assert list(found.facts.left_out) == ["attacks"]
    assert found.facts.left_out["attacks"].startswith("--seconds: too little time is left for the fewest samples; ")
    monkeypatch.setattr(timing, "clock", lambda: 0.0)
    again = analyse(couple, questions, keep=tmp_path / "out")
    assert list(again.records) == ["attacks-before", "attacks-after"]
    assert again.facts.left_out == {}


def test_names_of_records_say_whether_they_are_of_one_model_or_of_both(couple):
    found = analyse(couple, with_data(only=("agreement", "shifts")))
    assert set(found.records) == {"agreement", "shifts-before", "shifts-after"}
    assert registry.DATA_MEASURES.keys().isdisjoint(registry.WEIGHT_MEASURES)
