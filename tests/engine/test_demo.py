"""The demo compares like with like, certifies, and can be called again."""

import dataclasses
import shutil

import pytest
import torch

from refconv.engine.demo import RUNS, DemoRecord, DemoRow, demo, markdown, recipes
from refconv.engine.stepping import step_seconds
from refconv.errors import RunError


@pytest.fixture(scope="module", autouse=True)
def few_steps_timed():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("refconv.engine.demo.step_seconds", lambda recipes, turns: step_seconds(recipes, turns // 20))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    said = []
    threads = torch.get_num_threads()
    record = demo(out, epochs=1, show=False, say=said.append)
    assert torch.get_num_threads() == threads
    return out, record, said


def test_recipes_of_the_rivals_differ_in_the_method_alone(tmp_path):
    settings = recipes(tmp_path)
    assert settings["plain"].differences(settings["refocus"]) == ("method", "space")
    assert settings["refocus"].differences(settings["gradient"]) == ("space",)
    assert settings["plain"].checkpoint == str(tmp_path / "base")
    assert settings["base"].epochs == settings["plain"].epochs


def test_demo_certifies_and_counts(finished):
    out, record, said = finished
    base, plain, refocused, gradient = record.rows
    assert record.certified
    assert record.test_images == 359
    assert (base.epochs, plain.epochs, refocused.epochs, gradient.epochs) == (1, 2, 2, 2)
    assert base.parameters_shipped == plain.parameters_shipped == refocused.parameters_shipped
    assert base.parameters_trained == base.parameters_shipped < refocused.parameters_trained
    assert gradient.parameters_trained == gradient.parameters_shipped == base.parameters_shipped
    assert all(0 <= row.top1 <= 1 and row.step_ms > 0 for row in record.rows)
    assert DemoRecord.read(out / "demo.json") == record
    assert len(said) == len(RUNS) + 1


def test_demo_keeps_finished_runs_and_goes_on_with_others(finished, tmp_path):
    out, record, _ = finished
    written = (out / "demo.json").read_bytes()
    copy = shutil.copytree(out, tmp_path / "copy")
    said = []
    with pytest.raises(RunError, match="checkpoint="):  # the rivals name the base by its folder
        demo(copy, epochs=1, show=False, say=said.append)
    for name in ("gradient", "demo.json"):
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = demo(out, epochs=1, show=False, say=said.append)
    assert [row.top1 for row in again.rows] == [row.top1 for row in record.rows]
    assert "is finished, kept" in said[-3]
    assert "kept" not in said[-2]
    (out / "demo.json").write_bytes(written)  # for the other tests, in whatever order they come


def test_markdown_shows_the_numbers_and_says_what_they_do_not_prove():
    row = DemoRow("base", 0.97493, 80, 27826, 27826, 6.04)
    record = DemoRecord(
        rows=(row, dataclasses.replace(row, title="again")), test_images=359,
        certificate="structure  the same", certified=True, seconds=61.2, hardware="a machine", versions={"torch": "2"},
    )  # fmt: skip
    lines = markdown(record).splitlines()
    assert lines[2] == "| base | 80 | 97.49 | 27,826 | 27,826 | 6.0 |"
    assert lines[3].startswith("| again | 80 |")
    text = " ".join(lines)
    for words in ("One seed", "359 test images", "proves nothing about accuracy", "a machine; torch 2; 61 s"):
        assert words in text
    assert lines[-2] == "structure  the same"
