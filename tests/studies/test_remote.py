"""Runs on other machines: what is given out, to whom, how often; with machines that live in this process."""

import dataclasses
import os
import shutil
import sys
import time

import pytest

from refconv.engine.stepping import Stepper
from refconv.errors import StudyError
from refconv.models.run_folder import RunFolder, locked
from refconv.process.interruption import StoppedError
from refconv.studies import CompareConfig, conduct, executors, remote
from refconv.studies.execution import Outcome, execute
from refconv.studies.remote import Errand, RemoteExecutor, permit_of, taken_of
from small_studies import folders, study


class Machines(RemoteExecutor):
    """Machines that execute a run when its end is waited for; some of them are lost before they say how it ended."""

    def __init__(self, lost=lambda run, times: None, slots=2):
        super().__init__(1, "models")
        self.lost, self.size = lost, slots
        self.given, self.cancelled, self.arrays = [], [], []

    @property
    def slots(self):
        return self.size

    def submit(self, errands):
        self.arrays.append(len(errands))
        self.given += [errand.run.folder for errand in errands]
        return list(errands)

    def ended(self, handles, seconds):
        return list(handles[:1])

    def outcome(self, handle):
        assert permit_of(handle.run.folder).read_text(encoding="utf-8") == f"{handle.number}\n"
        lost = self.lost(handle.run, self.given.count(handle.run.folder))
        return lost or execute(handle.run, self._keep)

    def cancel(self, handle):
        self.cancelled.append(handle.run.folder)


@pytest.fixture
def on(monkeypatch):
    """Return a function that makes studies run on some machines."""

    def use(machines):
        monkeypatch.setattr(executors.Execution, "opened", lambda self, keep, out: machines)
        return machines

    return use


def compare(read, out):
    return conduct.compare(read, out, CompareConfig(threads=1, show=False, only="*/plain"))


LOST = Outcome("stopped", "the node died")


def test_other_machines_find_what_this_one_finds_although_two_are_lost(tmp_path, on, monkeypatch):
    read = study(tmp_path)
    steps, step = [], Stepper.step

    def counted(self, number, parts):
        steps.append(number)
        return step(self, number, parts)

    def lost(run, times):
        if times > 1:
            return None
        if run.kind == "base" and run.recipe.seed == 0:
            return LOST  # before it began
        if run.kind == "base" and run.recipe.seed == 1:
            execute(run, "models")
            return LOST  # after the run was over, before it said so
        return None

    monkeypatch.setattr(Stepper, "step", counted)
    expected = compare(read, tmp_path / "here")
    once = len(steps)
    machines = on(Machines(lost))
    found = compare(read, tmp_path / "there")
    assert [cell.values for cell in found.cells] == [cell.values for cell in expected.cells]
    bases = [folder.name for folder in machines.given if folder.parent.parent.name == "base"]
    assert sorted(bases) == ["seed-0", "seed-0", "seed-1", "seed-1", "seed-1000"]
    assert len(machines.given) == 7 + 2
    assert len(steps) == 2 * once  # no run is done twice
    assert max(machines.arrays) == 2
    assert not [path for path in (tmp_path / "there").rglob(".*") if path.suffix in {".permit", ".taken"}]


def test_a_run_that_is_lost_again_and_again_without_progress_is_given_up(tmp_path, on):
    read = study(tmp_path, study={"seeds": 1}, grid={"lr": [0.05]})
    machines = on(Machines(lambda run, times: LOST if run.kind == "final" else None))
    with pytest.raises(StudyError, match="lost 3 times without a new checkpoint; the node died"):
        compare(read, tmp_path / "out")
    assert len(machines.given) == 1 + 3


def test_a_run_that_is_lost_again_and_again_with_progress_goes_on(tmp_path, on):
    read = study(tmp_path, study={"seeds": 1}, grid={"lr": [0.05]})

    def lost(run, times):
        if run.kind != "final" or times > 6:
            shutil.rmtree(run.folder, ignore_errors=True)
            return None
        run.folder.mkdir(parents=True, exist_ok=True)
        RunFolder(run.folder).checkpoint_file.touch()
        os.utime(RunFolder(run.folder).checkpoint_file, ns=(times, times))
        return LOST

    machines = on(Machines(lost))
    compare(read, tmp_path / "out")
    assert len(machines.given) == 1 + 7


def test_ctrl_c_takes_back_what_has_not_begun_and_waits_for_what_has(tmp_path, on):
    read = study(tmp_path)
    waited = []

    class Interrupted(Machines):
        def ended(self, handles, seconds):
            if self.cancelled or waited:
                waited.extend(handle.run.folder for handle in handles)
                return list(handles)
            first = handles[0]
            taken_of(first.run.folder).write_text(f"{first.number}\nhost\n", encoding="utf-8")
            raise KeyboardInterrupt

    machines = on(Interrupted())
    with pytest.raises(StoppedError, match="stopped with 0 of 7 runs done; the last checkpoints are whole"):
        compare(read, tmp_path / "out")
    assert len(machines.given) == 2
    assert waited == machines.given[:1]
    assert machines.cancelled == machines.given[1:]
    assert not any(permit_of(folder).exists() or taken_of(folder).exists() for folder in machines.given)
    assert folders(tmp_path / "out") == {}


@pytest.fixture
def errand(tmp_path, monkeypatch):
    """Return a run that is given out, in another working directory than this test's."""
    read = study(tmp_path, base={"samples": 400_000})
    (run, *_) = conduct.schedule_of(read, tmp_path / "out", conduct.open_data_of(read), "*/plain").to_do()
    run.folder.parent.mkdir(parents=True)
    permit_of(run.folder).write_text("7\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.chdir(tmp_path)
    return Errand(run, "all", 1, "7")


def test_a_machine_whose_permit_is_gone_or_given_to_another_does_nothing(errand):
    permit_of(errand.run.folder).write_text("8\n", encoding="utf-8")
    assert errand().state == "stopped"
    permit_of(errand.run.folder).unlink()
    assert errand().state == "stopped"
    assert not errand.run.folder.exists()


def test_a_machine_stops_with_a_checkpoint_when_its_permit_is_given_to_another(errand, monkeypatch):
    monkeypatch.setattr(remote, "_BETWEEN_LOOKS", 0.1)
    looked = errand._permitted

    def permitted(self):
        metrics = RunFolder(self.run.folder).metrics_file
        if metrics.is_file() and metrics.stat().st_size:  # it trains
            permit_of(self.run.folder).write_text("8\n", encoding="utf-8")
        return looked()

    monkeypatch.setattr(Errand, "_permitted", permitted)
    assert errand().state == "stopped"
    assert RunFolder(errand.run.folder).checkpoint_file.is_file()
    assert taken_of(errand.run.folder).read_text(encoding="utf-8").startswith("7\n")


def test_a_machine_waits_for_the_one_that_had_the_run_before(errand, monkeypatch):
    monkeypatch.setattr(remote, "_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(remote, "_LOCK_PATIENCE", 0.1)
    with locked(errand.run.folder, "run folder"):
        begin = time.monotonic()
        found = errand()
    assert time.monotonic() - begin > 0.1
    assert found == Outcome(
        "failed",
        f"{errand.run.folder}: the run folder is in use by another process; wait for it, or give another folder",
    )


def test_a_machine_without_the_folders_of_the_command_says_so(errand, tmp_path):
    found = dataclasses.replace(errand, directory=str(tmp_path / "elsewhere"))()
    assert found.state == "failed"
    assert found.message.startswith(f"{tmp_path}/elsewhere: not there on ")
    assert found.message.endswith("all machines need the working directory and --out at the same place")


def test_what_a_killed_machine_left_half_written_does_not_hinder(tmp_path):
    read = study(tmp_path)
    (run, *_) = conduct.schedule_of(read, tmp_path / "out", conduct.open_data_of(read), "*/plain").to_do()
    run.folder.mkdir(parents=True)
    (run.folder / ".recipe.toml.partial").write_text("half", encoding="utf-8")
    assert execute(run, "all").state == "finished"
    assert execute(run, "all").state == "finished"  # it is over, and not run again
