"""Of two commands that write to one place at once one wins, and the other ends with one line; nothing is mixed."""

import fcntl
import hashlib
import importlib
import shutil
import subprocess
import sys

import pytest
import timm
import torch
from PIL import Image

from finished_runs import finished_run
from refconv.cli import main
from refconv.errors import RunError
from refconv.models.model_folder import load_model_folder
from refconv.models.run_folder import held, locked
from run_checkpoints import save_run, small_recipe
from small_studies import TINY, write

# A command, and where its work on the place begins.
WRITERS = {
    "merge": (["merge", "{0}/run", "--out", "{0}/out"], "refconv.models.model_folder:_write"),
    "adopt": (
        ["adopt", "{0}/w.pth", "--model", "test_resnet", "--out", "{0}/out"], "refconv.engine.adopting:save_opened",
    ),
    "export hub": (
        ["export", "{0}/adopted", "--format", "hub", "--license", "mit", "--out", "{0}/out"],
        "refconv.exporting.hub:save_opened",
    ),
    "export torchscript": (
        ["export", "{0}/adopted", "--out", "{0}/out.torchscript"], "refconv.exporting.exporting:write",
    ),
}  # fmt: skip
HOLDERS = {
    "merge": "refconv.models.run_folder:held", "adopt": "refconv.engine.adopting:held",
    "export hub": "refconv.exporting.exporting:held", "export torchscript": "refconv.exporting.exporting:held",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held")
    save_run(folder / "run", small_recipe(), finished=False)
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet", num_classes=2).state_dict(), folder / "w.pth")
    assert main(["adopt", str(folder / "w.pth"), "--model", "test_resnet", "--out", str(folder / "adopted")]) == 0
    finished_run(folder / "finished", small_recipe())
    return folder


@pytest.fixture
def command_for(folder, tmp_path):
    for name in ("run", "w.pth", "adopted"):
        (tmp_path / name).symlink_to(folder / name)
    return lambda name: [part.format(tmp_path) for part in WRITERS[name][0]]


def meanwhile(monkeypatch, place, act):
    """Let something happen once, before what stands at a place is called."""
    module, name = place.split(":")
    honest, waiting = getattr(importlib.import_module(module), name), [act]

    def called(*arguments, **named):
        if waiting:
            waiting.pop()()
        return honest(*arguments, **named)

    monkeypatch.setattr(f"{module}.{name}", called)


def digest(path):
    """Return the SHA-256 of a file, or of all files in a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def line(capsys):
    """Return the one line on standard error."""
    (said,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("refconv: error")]
    return said


@pytest.mark.parametrize("name", WRITERS)
def test_a_second_writer_is_refused_while_the_first_writes(name, command_for, tmp_path, monkeypatch, capsys):
    command, ends = command_for(name), []
    meanwhile(monkeypatch, WRITERS[name][1], lambda: ends.append((main([*command, "--force"]), line(capsys))))
    assert main(command) == 0
    ((status, said),) = ends
    assert status == 2
    assert "is in use by another process; wait for it, or give another" in said
    out = tmp_path / command[-1]
    assert {entry.name for entry in tmp_path.iterdir()} == {"run", "w.pth", "adopted", out.name}
    if out.is_dir():
        load_model_folder(out)


@pytest.mark.parametrize("name", HOLDERS)
def test_what_another_process_wrote_meanwhile_is_kept(name, command_for, tmp_path, monkeypatch, capsys):
    command, ends = command_for(name), []
    out = tmp_path / command[-1]
    meanwhile(monkeypatch, HOLDERS[name], lambda: ends.append((main(command), digest(out))))
    assert main(command) == 2
    assert "exists already; give another" in line(capsys)
    assert ends == [(0, digest(out))]


# Commands that replace what is there, where their work begins, and what is held; ``{1}`` differs between the two.
PAIR = ["--before", "{0}/finished", "--only", "movement"]
REPLACERS = {
    "predict": (
        ["predict", "{0}/adopted", "{0}/image.png", "--out", "{0}/out"], "refconv.tasks.predicting:predictions",
        "out: the folder of predictions is in use",
    ),
    "analyze": (
        ["analyze", *PAIR, "--after", "{0}/finished", "--out", "{0}/out"], "refconv.analysis.analysing:analyse",
        "out: the analysis folder is in use",
    ),
    "report": (
        ["report", "{0}/finished", *PAIR, "--weights", "--out", "{0}/page.html"],
        "refconv.analysis.reporting:analyses_of", "page.html: the report is in use",
    ),
    "report, two pages": (
        ["report", "{0}/finished", *PAIR, "--weights", "--out", "{0}/{1}.html"],
        "refconv.analysis.reporting:_analysed", "finished/analysis: the analysis folder is in use",
    ),
    "data scenes": (
        ["data", "scenes", "--train", "1", "--val", "1", "--test", "1", "--source", "digits", "--force", "--out",
         "{0}/out"], "refconv.data.scenes:make_scenes", "out: the folder of scenes is in use",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REPLACERS)
def test_a_second_command_that_replaces_is_refused_while_the_first_works(name, folder, tmp_path, monkeypatch, capsys):
    command, place, words = REPLACERS[name]
    shutil.copytree(folder / "finished", tmp_path / "finished")
    (tmp_path / "adopted").symlink_to(folder / "adopted")
    Image.new("RGB", (32, 32)).save(tmp_path / "image.png")
    one, other = ([part.format(tmp_path, number) for part in command] for number in ("one", "other"))
    ends = []
    meanwhile(monkeypatch, place, lambda: ends.append((main(other), line(capsys))))
    assert main(one) == 0
    ((status, said),) = ends
    assert status == 2
    assert f"{words} by another process; wait for it, or give another" in said
    assert not list(tmp_path.glob("**/.*.lock"))
    assert main(other) == 0


def test_a_journal_serves_one_comparison_at_a_time(tmp_path, monkeypatch, capsys):
    one, other = (
        ["compare", str(write(tmp_path, TINY)), "--journal", str(tmp_path / "j.jsonl"), "--out"] for _ in "12"
    )
    ends = []

    def stop():
        ends.append((main([*other, str(tmp_path / "other")]), line(capsys)))
        raise RunError("stopped here")

    meanwhile(monkeypatch, "refconv.studies.conduct:schedule_of", stop)
    assert main([*one, str(tmp_path / "one")]) == 2
    ((status, said),) = ends
    assert status == 2
    assert "j.jsonl: the journal is in use by another process; wait for it, or give another file" in said
    assert "stopped here" in line(capsys)
    assert not (tmp_path / ".j.jsonl.lock").exists()


def test_a_folder_serves_one_improvement_at_a_time(folder, tmp_path, monkeypatch, capsys):
    model = ["--model", "test_resnet", "--checkpoint", str(folder / "w.pth"), "--data", "digits"]
    command, ends = ["improve", *model, "--budget", "2ep", "--out", str(tmp_path / "out")], []

    def stop():
        ends.append((main(command), line(capsys)))
        raise RunError("stopped here")

    meanwhile(monkeypatch, "refconv.improvement.improving:_look", stop)
    assert main(command) == 2
    ((status, said),) = ends
    assert status == 2
    assert "out: the folder of the improvement is in use by another process" in said
    assert "stopped here" in line(capsys)


def test_a_lock_is_removed_at_the_end_unless_it_is_another_one(tmp_path):
    run = tmp_path / "run"
    with locked(run, "run folder"):
        assert (run / ".lock").is_file()
    assert not list(run.iterdir())
    with locked(run, "run folder"):
        run.rename(tmp_path / "moved")
        run.mkdir()
        (run / ".lock").touch()  # of another run
    assert (run / ".lock").is_file()


def test_who_opened_a_lock_before_it_was_removed_does_not_hold_it(tmp_path, monkeypatch):
    """Three processes: the first removes the lock that the second has opened, while the third makes a new one."""
    run, flock, ends = tmp_path / "run", fcntl.flock, []
    first = locked(run, "run folder")
    third = locked(run, "run folder")
    first.__enter__()

    def later(fd, operation):
        if operation & fcntl.LOCK_EX and not ends:
            ends.append("opened")
            first.__exit__(None, None, None)
            third.__enter__()
        return flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", later)
    with pytest.raises(RunError, match="run folder is in use by another process"), locked(run, "run folder"):
        pass
    assert (run / ".lock").is_file()
    third.__exit__(None, None, None)
    assert not list(run.iterdir())


@pytest.mark.faults
def test_processes_that_take_turns_never_hold_a_place_together(tmp_path, figures):
    """Locks are removed at every turn; who holds one makes a file that nobody else may find."""
    code = """
import os, sys, time
from pathlib import Path
from refconv.errors import RunError
from refconv.models.run_folder import locked
turns, end = 0, time.monotonic() + 8
while time.monotonic() < end:
    try:
        with locked(Path(sys.argv[1]), "run folder"):
            os.close(os.open(sys.argv[2], os.O_CREAT | os.O_EXCL))
            os.unlink(sys.argv[2])
            turns += 1
    except RunError:
        pass
print(turns)
"""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code,
             str(tmp_path / "run"), str(tmp_path / "alone")], stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    turns = [int(process.communicate()[0] or -1) for process in started]
    assert all(process.returncode == 0 for process in started)
    assert sum(turn > 0 for turn in turns) > 1
    figures("processes that take turns never hold a place together", len(turns), len(turns))


def test_a_place_in_a_new_folder_leaves_no_folder_behind_when_nothing_was_written(tmp_path):
    with held(tmp_path / "new/out", "model folder", force=False):
        assert (tmp_path / "new/.out.lock").is_file()
    assert not list(tmp_path.iterdir())
