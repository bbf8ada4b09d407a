"""A study on Slurm, as submitit sees it: programs of its names on this machine; and submitit's own local executor."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import fake_slurm
from refconv.errors import RunError, StudyError
from refconv.models.run_folder import RunFolder
from refconv.process.interruption import StoppedError
from refconv.studies import CompareConfig, conduct, on_slurm
from small_studies import TINY, study

pytestmark = [pytest.mark.executors, pytest.mark.filterwarnings("ignore::ResourceWarning")]
RECIPE = {**TINY["recipe"], "batch_size": 64, "checkpoint_interval": 100}
LONG = {"study": {"seeds": 1, "samples": 40_000}, "base": {"samples": 1000}, "grid": {"lr": [0.05]}, "recipe": RECIPE}
PLAIN, REFOCUS = (f"final/mobilenet/{method}/lr-0.05/seed-0" for method in ("plain", "refocus"))


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Put the programs of Slurm in front of all others, and return the folder of its jobs."""
    (tmp_path / "slurm").mkdir()
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path / "slurm"))
    monkeypatch.setenv("PATH", f"{fake_slurm.install(tmp_path / 'bin')}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "slurm"


def compare(read, out, **rest):
    return conduct.compare(read, out, CompareConfig(executor="slurm", show=False, **rest))


def job_of(out, run):
    """Return the job that works on a run, whose checkpoint is waited for."""
    while not RunFolder(out / run).checkpoint_file.is_file():
        time.sleep(0.02)
    for path in sorted(Path(os.environ["FAKE_SLURM"]).glob("*.json")):
        workers = fake_slurm.below(fake_slurm.read(path.stem)["pid"])
        if any(str(out / run / ".lock") in fake_slurm.files_of(pid) for pid in workers):
            return path.stem
    raise AssertionError("nobody works on it")


def in_the_background(function, *arguments):
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def test_a_job_that_is_lost_and_one_that_reaches_its_limit_go_on(slurm, tmp_path):
    read, out = study(tmp_path, **LONG), tmp_path / "out"
    expected = conduct.compare(read, tmp_path / "here", CompareConfig(jobs=1, threads=1, show=False))
    jobs = {}

    def disturb():
        jobs["lost"] = job_of(out, PLAIN)
        fake_slurm.kill(jobs["lost"], "NODE_FAIL")
        jobs["warned"] = job_of(out, REFOCUS)
        fake_slurm.warn(jobs["warned"])

    disturbing = in_the_background(disturb)
    options = {"partition": "gpu", "time": "8h", "memory": 2, "qos": "high"}
    found = compare(read, out, jobs=2, executor_options=options)
    disturbing.join(10)
    assert [cell.values for cell in found.cells] == [cell.values for cell in expected.cells]
    assert fake_slurm.read(jobs["lost"])["state"] == "NODE_FAIL"
    assert fake_slurm.read(jobs["warned"]) | {"pid": 0} == {"state": "COMPLETED", "times": 2, "again": False, "pid": 0}
    scripts = [path.read_text(encoding="utf-8") for path in sorted(slurm.glob("*.sh"))]
    assert len(scripts) == 3  # the base, both methods, and the lost one once more
    for line in ("--partition=gpu", "--time=480", "--mem=2GB", "--qos=high", "--cpus-per-task=1", "--array=0-1%2"):
        assert f"#SBATCH {line}\n" in scripts[1]
    assert "gpus" not in scripts[1]
    assert list((out / "slurm").glob("*_log.out"))


def test_ctrl_c_leaves_checkpoints_and_no_jobs(slurm, tmp_path):
    read, out = study(tmp_path, **LONG), tmp_path / "out"

    def interrupt():
        for run in (PLAIN, REFOCUS):
            job_of(out, run)
        os.kill(os.getpid(), signal.SIGINT)

    in_the_background(interrupt)
    with pytest.raises(StoppedError, match="stopped with 1 of 3 runs done"):
        compare(read, out)
    assert all(RunFolder(out / run).checkpoint_file.is_file() for run in (PLAIN, REFOCUS))
    time.sleep(2)
    assert {fake_slurm.read(path.stem)["state"] for path in slurm.glob("*.json")} == {"COMPLETED"}


def test_a_job_that_was_cancelled_fails_its_run_alone(slurm, tmp_path):
    read, out = study(tmp_path, **LONG), tmp_path / "out"
    in_the_background(lambda: fake_slurm.kill(job_of(out, PLAIN), "CANCELLED by 0"))
    with pytest.raises(
        StudyError, match=r"1 of the study's runs failed; .* job \S+ ended as CANCELLED; its log is .*err"
    ):
        compare(read, out)
    assert (out / REFOCUS / "record.json").is_file()


def test_what_sbatch_refuses_is_one_line(slurm, tmp_path):
    read = study(tmp_path, **LONG)
    words = "executor: sbatch did not take the jobs; found .*invalid partition specified: closed"
    with pytest.raises(RunError, match=words):
        compare(read, tmp_path / "out", executor_options={"partition": "closed"})


def test_a_machine_without_slurm_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    words = "executor: no Slurm here; expected the programs srun and sbatch; give the command where jobs are submitted"
    with pytest.raises(RunError, match=words):
        compare(study(tmp_path), tmp_path / "out")


def test_submitits_own_local_executor_runs_a_study(tmp_path, monkeypatch):
    monkeypatch.setattr(on_slurm, "_CLUSTER", "local")
    read = study(tmp_path, study={"seeds": 1}, grid={"lr": [0.05]})
    expected = conduct.compare(read, tmp_path / "here", CompareConfig(jobs=1, threads=1, show=False))
    found = compare(read, tmp_path / "out", jobs=2)
    assert [cell.values for cell in found.cells] == [cell.values for cell in expected.cells]
