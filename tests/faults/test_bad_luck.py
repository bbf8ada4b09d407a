"""Data workers that die, output that cannot be written, two processes at once, and a run of many steps."""

import re
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from image_folders import two_classes
from refconv.data import loading
from refconv.data.loading import load_batches, workers_kept
from refconv.errors import DataError
from refconv.models.checkpoint import Checkpoint
from refconv.models.model_folder import load_model_folder
from run_results import same_result
from signalled_samples import Slow
from small_runs import NETWORK, TRAIN
from small_studies import changed, write

pytestmark = pytest.mark.faults

# The main process kills one of its data workers before a certain step, as the kernel does when memory is short.
KILLED_WORKER = """
import multiprocessing, os, signal, sys
from refconv.cli import main
from refconv.engine.stepping import Stepper
honest = Stepper.step
def step(self, number, parts):
    found = honest(self, number, parts)
    if number == 2:
        worker = next(one for one in multiprocessing.active_children() if one.daemon)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    return found
if __name__ == "__main__":
    Stepper.step = step
    sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_data_worker_ends_the_run_in_one_line_with_a_checkpoint(tmp_path, figures):
    two_classes(tmp_path / "data", (16, 16), count=24)
    script = tmp_path / "script.py"
    script.write_text(KILLED_WORKER)
    train = [
        "train", "--model", "test_resnet", "--data", f"folder:{tmp_path / 'data'}", "--batch-size", "2", "--epochs",
        "1", "--workers", "1", "--device", "cpu", "--no-test", "--out",
    ]  # fmt: skip
    killed = subprocess.run([sys.executable, script, *train, tmp_path / "run"], capture_output=True, text=True)
    lines = [line for line in killed.stderr.splitlines() if not line.startswith("refconv: warning")]
    assert killed.returncode == 2, killed.stderr
    assert len(lines) == 1, killed.stderr
    assert re.search("a data worker died.*the checkpoint of step \\d+ is written: continue with --resume", lines[0])
    assert Checkpoint.load(tmp_path / "run/checkpoint.pt").step >= 3
    for name in ("run", "whole"):
        resume = ["--resume"] if name == "run" else []
        command = [sys.executable, "-m", "refconv", *train, tmp_path / name, *resume]
        assert subprocess.run(command, capture_output=True).returncode == 0
    same_result(tmp_path / "whole", tmp_path / "run")
    figures("a killed data worker ends a run in one line, and it is resumed to the undisturbed run's bytes", 1, 1)


@pytest.fixture(scope="module")
def deadly(forks, tmp_path_factory):
    """A run and a study on data whose workers are killed, and the folder in which the workers note themselves."""
    folder = tmp_path_factory.mktemp("deadly")
    (folder / "noted").mkdir()
    command = ["train", *NETWORK, "--data", "deadly_samples:deadly", "--epochs", "1", "--batch-size", "4", "--workers"]
    assert forks.run([*command, "0", "--device", "cpu", "--out", folder / "run"]).status == 0
    recipe = {"data": "deadly_samples:deadly", "batch_size": 4, "device": "cpu", "workers": 1}
    write(folder, changed(study={"val_split": 0.0, "samples": 100}, base={"samples": 100}, recipe=recipe))
    return folder


WORKING = {
    "eval": ["eval", "{}/run", "--workers", "1", "--device", "cpu", "--trust"],
    "compare": ["compare", "{}/study.toml", "--out", "{}/study", "--trust"],
    "compare, two jobs": ["compare", "{}/study.toml", "--out", "{}/jobs", "--jobs", "2", "--trust"],
}


@pytest.mark.parametrize("name", WORKING)
def test_a_killed_data_worker_ends_a_command_in_one_line_and_leaves_no_process(name, forks, deadly, figures):
    noted = deadly / "noted"
    first = f"import os; os.environ['DEADLY'] = {str(noted)!r}"
    ran = forks.run([part.format(deadly) for part in WORKING[name]], first=first)
    lines = [line for line in ran.lines if line.startswith("refconv: error: ")]
    assert (ran.status, len(lines)) == (2, 1), ran.err
    assert "Traceback" not in ran.err
    assert "a data worker died" in lines[0]
    processes = [int(entry.name) for entry in noted.iterdir()]
    assert len(processes) >= 2
    end = time.monotonic() + 300
    while left := [process for process in processes if Path(f"/proc/{process}").exists()]:
        assert time.monotonic() < end, left
        time.sleep(0.05)
    for entry in noted.iterdir():
        entry.unlink()
    figures("a killed data worker ends a command in one line and leaves no process", 1, 1)


def test_a_log_on_a_full_disk_does_not_end_a_run(forks, base, tmp_path, figures):
    ran = forks.run([*TRAIN, "--out", tmp_path / "run"], out="/dev/full")
    assert ran.status == 0, ran.err
    assert "progress is not shown any more, and the work goes on" in ran.err
    same_result(base, tmp_path / "run")
    listed = forks.run(["plan", "test_resnet", "--json"], out="/dev/full")
    assert (listed.status, len(listed.lines)) == (2, 1), listed.err
    assert listed.lines[0].startswith("refconv: error: standard output: cannot write; found No space left on device")
    figures("output that cannot be written is said in one line, and a run goes on", 2, 2)


def test_a_limit_on_the_size_of_files_is_said_and_the_run_goes_on_later(forks, base, tmp_path, figures):
    run = tmp_path / "run"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    ran = forks.run([*TRAIN, "--out", run], first=limit)
    assert ran.status == 2, ran.err
    assert len(ran.lines) == 1
    assert "checkpoint.pt: cannot write; found File too large" in ran.lines[0]
    assert "ulimit -f" in ran.lines[0]
    assert forks.run([*TRAIN, "--out", run, "--resume", "auto"]).status == 0
    same_result(base, run)
    figures("a limit on the size of files ends a run in one line, and it goes on later", 1, 1)


def one_wins(command):
    """Start a command twice at once: one succeeds, and the other says in one line what is in its way."""
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = sorted((process.communicate()[1], process.returncode) for process in pair)
    assert sorted(status for _, status in ends) == [0, 2], ends
    words = next(said for said, status in ends if status)
    assert re.search("is in use by another process|exists already", words)
    assert len(words.splitlines()) == 1


def test_two_processes_that_start_one_run_leave_one_whole_run(base, tmp_path, figures):
    command = [sys.executable, "-m", "refconv", *TRAIN, "--out", tmp_path / "run"]
    one_wins(command)
    same_result(base, tmp_path / "run")
    figures("of two processes that start the same run one wins and the other gets a line", 1, 1)


# So many MiB of address space more than a process has when its command begins.
LIMIT = """
import os, resource
from refconv.cli import app
honest = app.main
def main(arguments):
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + {more} * 2**20, resource.RLIM_INFINITY))
    return honest(arguments)
app.main = main
"""
LIMITED = {
    "train": [*TRAIN, "--out", "{out}"],
    "export": ["export", "{base}", "--format", "hub", "--license", "mit", "--out", "{out}"],
    "analyze": ["analyze", "--before", "{base}", "--after", "{base}", "--only", "smoothness"],
}


@pytest.mark.parametrize("name", LIMITED)
def test_a_limit_on_memory_is_said_in_one_line(name, forks, base, tmp_path, figures):
    """How much a command needs differs by machine, and where there is enough it succeeds.

    With more than this, training ends inside of a native library now and then, by a signal and without a word.
    """
    ends = []
    for more in (0, 1):
        arguments = [part.format(base=base, out=tmp_path / str(more)) for part in LIMITED[name]]
        ran = forks.run(arguments, first=LIMIT.format(more=more))
        ends.append(ran.status)
        if ran.status:
            assert ran.status == 2, ran.err
            (line,) = (one for one in ran.lines if one.startswith("refconv: error: "))
            assert "out of memory" in line
            assert "free memory" in line
            assert "Traceback" not in ran.err
    assert ends[0] == 2
    figures("a limit on memory is said in one line", len(ends), len(ends))


# As much address space as the process has when step 3 begins, and so many MiB more.
LIMIT_IN_TRAINING = """
import os, resource
from refconv.engine.stepping import Stepper
honest = Stepper.step
def step(self, number, parts):
    if number == 3:
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + {more} * 2**20, resource.RLIM_INFINITY))
    return honest(self, number, parts)
Stepper.step = step
"""


@pytest.mark.parametrize("more", [0, 2, 8, 24])
def test_a_run_that_meets_a_limit_on_memory_keeps_its_checkpoint(more, forks, base, tmp_path, figures):
    """Native libraries may end the process by a signal where an allocation fails; nothing that was written is lost."""
    run = tmp_path / "run"
    ran = forks.run([*TRAIN, "--out", run], first=LIMIT_IN_TRAINING.format(more=more))
    assert ran.status in {0, 2} or ran.status < 0, ran.err
    if ran.status == 2:
        (line,) = (one for one in ran.lines if one.startswith("refconv: error: "))
        assert "out of memory" in line
    assert ran.status < 0 or "Traceback" not in ran.err
    assert Checkpoint.load(run / "checkpoint.pt").step >= 2
    again = forks.run([*TRAIN, "--out", run, "--resume", "auto"])
    assert (again.status, again.lines) == (0, []), again.err
    same_result(base, run)
    figures("a run that meets a limit on memory, or is ended by it, goes on from its last checkpoint", 1, 1)


OWN_DISK = """
mount -t tmpfs -o size={size} tmpfs {run} || exit 99
"$@"
status=$?
cp -a {run}/. {kept} || exit 99
exit $status
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0,
    reason="a file system of one's own takes unshare and its rights",
)
@pytest.mark.parametrize("share", [1.2, 2.2])
def test_a_run_on_a_small_file_system_keeps_its_checkpoint(share, forks, base, tmp_path, figures):
    """It holds this many checkpoints, of which two are there for a moment whenever one is written."""
    run, kept = tmp_path / "run", tmp_path / "kept"
    for folder in (run, kept):
        folder.mkdir()
    script = OWN_DISK.format(size=int(share * (base / "checkpoint.pt").stat().st_size), run=run, kept=kept)
    command = [sys.executable, "-m", "refconv", *map(str, TRAIN), "--out", str(run)]
    ran = subprocess.run(["unshare", "-m", "bash", "-c", script, "bash", *command], capture_output=True, text=True)
    assert ran.returncode == 2, ran.stderr
    (line,) = (one for one in ran.stderr.splitlines() if not one.startswith("refconv: warning: "))
    assert line.startswith(f"refconv: error: {run}/")
    assert "No space left on device" in line
    assert "what was written before is whole: make room on the disk, then continue with --resume" in line
    assert Checkpoint.load(kept / "checkpoint.pt").step >= 0
    assert not (kept / "record.json").exists()
    after = forks.run([*TRAIN, "--out", kept, "--resume", "auto"])
    assert (after.status, after.lines) == (0, []), after.err
    same_result(base, kept)
    figures("a run on a file system that is too small keeps its last checkpoint and goes on elsewhere", 1, 1)


WRITERS = {
    "merge": ["merge", "{base}", "--out", "{out}"],
    "adopt": ["adopt", "{base}/model", "--model", NETWORK[1], *NETWORK[2:], "--out", "{out}"],
    "export": ["export", "{base}", "--format", "hub", "--license", "mit", "--out", "{out}"],
}


@pytest.mark.parametrize("name", WRITERS)
def test_two_processes_that_write_one_model_leave_one_whole_model(name, base, tmp_path, figures):
    out = tmp_path / "out"
    arguments = [part.format(base=base, out=out) for part in WRITERS[name]]
    command = [sys.executable, "-m", "refconv", *arguments]
    one_wins(command)
    load_model_folder(out)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    figures("of two processes that write one model one wins and the other gets a line", 1, 1)


# A command that says by a file that it has begun to write, and goes on when it is told so by its standard input.
SLOW_WRITER = """
import sys
from pathlib import Path
from refconv.cli import main
module, name, begun = sys.argv[1:4]
module = __import__(module, fromlist=[name])
honest = getattr(module, name)
def slow(*arguments, **named):
    Path(begun).touch()
    sys.stdin.readline()
    return honest(*arguments, **named)
setattr(module, name, slow)
sys.exit(main(sys.argv[4:]))
"""
REPLACERS = {
    "predict": (
        "refconv.tasks.predicting", "save_predictions", ["predict", "{base}", "{image}", "--device", "cpu"],
        "folder of predictions",
    ),
    "report": ("refconv.report", "write_report", ["report", "{base}", "--before", "{base}", "--weights"], "report"),
}  # fmt: skip


@pytest.mark.parametrize("name", REPLACERS)
def test_of_two_processes_that_replace_one_place_the_second_is_refused(name, base, tmp_path, figures):
    from PIL import Image

    image, out, begun = tmp_path / "image.png", tmp_path / "out", tmp_path / "begun"
    Image.new("RGB", (8, 8)).save(image)
    module, function, command, what = REPLACERS[name]
    command = [part.format(base=base, image=image) for part in command] + ["--out", str(out)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen([sys.executable, "-c", SLOW_WRITER, module, function, begun, *command], **pipes)
    while not begun.exists():
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.02)
    second = subprocess.run([sys.executable, "-m", "refconv", *command], capture_output=True, text=True)
    said = first.communicate("go on\n")[1]
    assert first.returncode == 0, said
    lines = [line for line in second.stderr.splitlines() if line.startswith("refconv: error: ")]
    assert (second.returncode, len(lines)) == (2, 1), second.stderr
    assert f"out: the {what} is in use by another process; wait for it, or give another" in lines[0]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["begun", "image.png", "out"]
    assert (out / "predictions.json").is_file() if name == "predict" else out.is_file()
    figures("of two processes that replace one place the second gets a line", 1, 1)


# After so many steps: resident memory in kB and open files, from the kernel.
WATCHED = """
import os
from refconv.engine.stepping import Stepper
honest = Stepper.step
def step(self, number, parts):
    found = honest(self, number, parts)
    if number + 1 in (2000, 10000):
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        print("WATCHED", pages * os.sysconf("SC_PAGE_SIZE") // 1024, len(os.listdir("/proc/self/fd")), flush=True)
    return found
Stepper.step = step
"""


def test_ten_thousand_steps_are_flat_in_memory_and_open_files(forks, tmp_path, figures):
    steps = [
        "train", "--model", "run_many:Plain", "--data", "digits", "--epochs", "100", "--epoch-steps", "100",
        "--batch-size", "2", "--val-split", "0.1", "--device", "cpu", "--no-test", "--log-interval", "500",
        "--checkpoint-interval", "1000", "--out", tmp_path / "run",
    ]  # fmt: skip
    ran = forks.run(steps, first=WATCHED)
    assert ran.status == 0, ran.err
    (early, files), (late, files_late) = [
        [int(number) for number in line.split()[1:]] for line in ran.out.splitlines() if line.startswith("WATCHED")
    ]
    assert files == files_late
    # 8,000 steps may leave 0.1 kB each: a tensor object alone takes more. The allocator's own pages vary by 2 MB.
    assert late - early < 8000 * 0.1 + 2048, (early, late)
    figures("10,000 steps are flat in memory and open files", 1, 1, kilobytes=[early, late], files=[files, files_late])


@pytest.mark.parametrize("kept", [False, True], ids=["for one split", "kept"])
def test_a_worker_that_hangs_is_waited_for_as_long_as_said_and_no_longer(kept, monkeypatch, figures):
    monkeypatch.setattr(loading, "_LISTENED", 1)
    with workers_kept() if kept else nullcontext():
        assert list(load_batches(Slow(3), [torch.tensor([2])], workers=1, collate=tuple)) == [(2,)]
    monkeypatch.setattr(loading, "PATIENCE", timedelta(seconds=2))
    words = "workers: no worker gave a sample for .* minutes; find what the samples wait for"
    with workers_kept() if kept else nullcontext(), pytest.raises(DataError, match=words):
        list(load_batches(Slow(10**6), [torch.tensor([2])], workers=1, collate=tuple))
    figures("a data worker that hangs is waited for no longer than said", 1, 1)
