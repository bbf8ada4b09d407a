"""Run folders that are moved, removed or changed while the run trains, and names that they may have."""

import os
import shutil

import pytest

from run_results import same_result
from small_runs import TRAIN

pytestmark = pytest.mark.faults

SAID = "moved or removed: if moved, it is whole: continue there with --resume; if removed, start the run again"


@pytest.mark.parametrize("how", ["moved", "removed"])
def test_a_folder_that_is_moved_or_removed_while_the_run_trains(how, forks, base, tmp_path, figures):
    """In its new place it holds what was trained; where it is gone, nobody is sent to it."""
    run, moved, right = tmp_path / "run", tmp_path / "moved", 0
    act = f"os.rename({str(run)!r}, {str(moved)!r})" if how == "moved" else f"shutil.rmtree({str(run)!r})"
    operations = forks.run([*TRAIN, "--out", run], root=run).operations
    run.rename(tmp_path / "whole")
    late = [operations.index(f"open .{name}") + 1 for name in ("model.partial/config.json", "record.json.partial")]
    places = (20, 32, 44, 60, *late)
    for at in places:
        ran = forks.run(
            [*TRAIN, "--out", run], root=run, at=at, first=f"import os, shutil\nfaults.call = lambda: {act}"
        )
        assert ran.status == 2, ran.err
        assert len(ran.lines) == 1, ran.err
        assert SAID in ran.lines[0]
        assert not run.exists()
        if how == "moved":
            moved.rename(run)
        assert forks.run([*TRAIN, "--out", run, *(["--resume"] if how == "moved" else [])]).status == 0
        same_result(base, run)
        right += 1
        run.rename(tmp_path / f"done-{at}")
    figures(f"a run whose folder is {how} while it trains says in one line how to go on", len(places), right)


REPLACED = {
    "removed": "os.path.isfile(path) and os.remove(path)",
    "rubbish": "open(path, 'w').write('rubbish')",
    "a folder": "os.path.isfile(path) and os.remove(path); os.mkdir(path)",
}


@pytest.mark.parametrize("how", REPLACED)
def test_a_record_that_is_replaced_while_the_run_trains_costs_nothing(how, forks, base, tmp_path, figures):
    """Before it is written, right before it appears, and afterwards; what then stands in the way is removed."""
    run, right = tmp_path / "run", 0
    record = run / "record.json"
    operations = forks.run([*TRAIN, "--out", run], root=run).operations
    moments = [len(operations) // 2, operations.index("replace .record.json.partial") + 1, len(operations)]
    lines = REPLACED[how].split("; ")
    code = "".join(f"    {line}\n" for line in lines)
    for at in moments:
        shutil.rmtree(run)
        first = f"import os\npath = {str(record)!r}\ndef call(os=os, path=path):\n{code}faults.call = call"
        ran = forks.run([*TRAIN, "--out", run], root=run, at=at, first=first)
        again = forks.run([*TRAIN, "--out", run, "--resume", "auto"])
        for one in (ran, again):
            assert (one.status, len(one.lines)) in {(0, 0), (2, 1)}, one.err
            assert all(f"refconv: error: {record}: cannot " in line for line in one.lines)
            assert all("remove it and resume" in line or "move the folder of" in line for line in one.lines)
        if again.status:
            shutil.rmtree(record) if record.is_dir() else record.unlink()
            assert forks.run([*TRAIN, "--out", run, "--resume", "auto"]).status == 0
        same_result(base, run)
        right += 1
    figures("a record replaced while the run trains costs nothing", len(moments), right)


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "n" * 240, "n" * 300], ids=["not UTF-8", "long", "too long"])
def test_names_of_run_folders_work_or_are_refused_in_one_line(name, forks, base, tmp_path, figures):
    run = tmp_path / name
    ran = forks.run([*TRAIN, "--out", run])
    if len(name) < 255:
        assert ran.status == 0, ran.err
        same_result(base, run)
        assert forks.run(["eval", run, "--json"]).status == 0
    else:
        assert (ran.status, len(ran.lines)) == (2, 1), ran.err
        assert "File name too long" in ran.lines[0]
        assert "give a shorter name" in ran.lines[0]
    figures("a run folder of any name works or is refused in one line", 1, 1)
