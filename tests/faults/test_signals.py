"""Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 at a step that a run has reached: nothing is lost, and no process stays.

Signals go to the process of the command alone, as ``kill`` sends them, and to its group, as a terminal does. torchrun
starts its processes in sessions of their own; there all of them get the signal, as from Slurm.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser as torchrun_flags

from image_folders import two_classes
from processes_left import MARK, left_after, processes_of
from ready_processes import Script
from refconv.models.checkpoint import Checkpoint
from refconv.process.interruption import SIGNALS
from run_results import read_metrics, same_result
from several_processes import forked_together
from small_studies import changed, write
from waiting_networks import HELD, STEP

pytestmark = pytest.mark.faults

CODE = "import sys; from refconv.cli import main; sys.exit(main())"
IN_A_GROUP = f"import os; os.setsid(); {CODE}"
SECONDS = 300  # longer than anything here takes
SAFE = "the last checkpoints are whole, and the same command goes on"
REACHED = 3  # the step after which signals are sent

NETWORK = ["--model", "waiting_networks:small", "--device", "cpu", "--log-interval", "1"]
TRAIN = ["train", *NETWORK, "--batch-size", "4", "--epochs", "2", "--checkpoint-interval", "1000"]
# To each: how many of its runs reach the step before the signal, and in which step, of all in a process, it would wait.
COMMANDS = {
    "train": (1, 6), "train, workers": (1, 6), "compare": (2, 18 + 6), "compare, jobs": (2, 6), "improve": (2, 20 + 6),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, a study and a network to improve, and what becomes of each command that nothing disturbs."""
    folder = tmp_path_factory.mktemp("signals")
    two_classes(folder / "data", (16, 16), count=24)
    write(folder, changed(
        study={"seeds": 2, "keep": "all"}, grid={"lr": [0.05]}, methods={"refocus": None}, recipe={"log_interval": 1},
        architectures={"mobilenet": {"model": "waiting_networks:small"}},
    ))  # fmt: skip
    base = ["train", *NETWORK, "--data", "digits", "--epochs", "2", "--batch-size", "64", "--lr", "0.1"]
    ended([*base, "--out", folder / "base"], folder)
    for name in ("train", "compare", "improve"):
        ended(command(name, folder, folder / "whole" / name), folder)
    return folder


def command(name, folder, out):
    """Return the command of a name, and the folder that it writes."""
    kind, _, more = name.partition(", ")
    if kind == "train":
        return [*TRAIN, "--data", f"folder:{folder / 'data'}", "--workers", "2" if more else "0", "--out", out]
    if kind == "compare":
        study = ["compare", folder / "study.toml", "--threads", "1", "--trust", "--out", out]
        return [*study, "--jobs", "2" if more else "1"]
    data = ["--data", "digits", "--batch-size", "64", "--workers", "0"]
    plan = ["--budget", "2ep", "--contender", "plain", "--no-check"]
    return ["improve", *NETWORK, "--checkpoint", folder / "base", *data, *plan, "--out", out]


def environment(mark, **more):
    """Return what processes know that tests start in a folder."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    return {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", MARK: str(mark), **more}


def ended(arguments, mark):
    """Run a command that ends well."""
    done = Script(CODE, *arguments, environment=environment(mark)).wait(SECONDS)
    assert done.returncode == 0, done.stderr
    return done


def runs_in(out):
    """Return the folders of runs below a folder, with the last step that each has written."""
    found = {}
    for path in Path(out).rglob("metrics.jsonl"):
        rows = read_metrics(path, "train")
        found[path.parent] = rows[-1]["step"] if rows else 0
    return found


def wait_until(process, condition):
    """Wait for a condition, as long as the process is there."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def begun(folder, tmp_path):
    """Return what starts a command in a group of its own, which ends with the test."""
    out, processes = tmp_path / "out", []

    def begin(name, **more):
        known = environment(out, **{STEP: str(COMMANDS[name][1])}, **more)
        processes.append(Script(IN_A_GROUP, *command(name, folder, out), environment=known))
        return processes[0]

    yield begin
    left = [process for process in processes if process.poll() is None]
    for one in [*(process.pid for process in left), *processes_of(out)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    for process in left:
        process.wait()


def whole_step(run, step):
    """Check that a checkpoint holds all that was trained."""
    assert Checkpoint.load(run / "checkpoint.pt").step == step


def unfinished(out):
    """Return the folders of runs that are not over, with the last step that each has written."""
    return {run: step for run, step in runs_in(out).items() if not (run / "record.json").is_file()}


def same_end(whole, out):
    """Check that all weights, and what is known of each run that keeps its checkpoint, are those of another folder."""
    weights = [path.relative_to(whole) for path in whole.rglob("model.safetensors")]
    assert weights
    for path in weights:
        assert (whole / path).read_bytes() == (out / path).read_bytes()
    for run in runs_in(whole):
        if (run / "checkpoint.pt").is_file():
            same_result(run, out / run.relative_to(whole))


@pytest.mark.parametrize("to", ["process", "group"])
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_loses_nothing_and_leaves_no_process(name, number, to, folder, tmp_path, begun, figures):
    out, process = tmp_path / "out", begun(name)
    wait_until(process, lambda: sum(at >= REACHED for at in runs_in(out).values()) >= COMMANDS[name][0])
    assert name in {"train", "compare", "improve"} or len(processes_of(out)) >= 2
    (os.kill if to == "process" else os.killpg)(process.pid, number)
    done = process.wait(SECONDS)
    kind, _, more = name.partition(", ")
    word = "Ctrl-C" if number == signal.SIGINT else number.name
    assert done.returncode == 128 + number, done.stderr
    (line,) = done.stderr.splitlines()
    assert left_after(out) == []
    stopped = unfinished(out)
    assert len(stopped) == (2 if more == "jobs" else 1)
    for run, step in stopped.items():
        assert step >= REACHED
        whole_step(run, step)
    if kind == "train":
        said = f"refconv: {out}: stopped by {word} at step {stopped[out]} of 24"
        assert line == f"{said}; the checkpoint is written: continue with --resume --trust"
        again = ["train", "--resume", "--trust", "--workers", "0", "--out", out]
    else:
        assert re.fullmatch(rf"refconv: {out}: stopped with \d of \d runs done; {SAFE}", line)
        again = command(kind, folder, out)
    ended(again, out)
    same_end(folder / "whole" / kind, out)
    figures(f"stopping: {name}: a signal loses nothing, one line says how to go on, and no process is left", 1, 1)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_second_ctrl_c_leaves_at_once_and_says_what_is_safe(name, folder, tmp_path, begun, figures):
    """The first is heard in the middle of a step that does not end."""
    out, kind, _, more = tmp_path / "out", *name.partition(", ")
    for state in ("waits", "heard"):
        (tmp_path / state).mkdir()
    process = begun(name, **{HELD: str(tmp_path)})
    for state in ("waits", "heard"):
        wait_until(process, lambda state=state: len(list((tmp_path / state).iterdir())) == (2 if more == "jobs" else 1))
        os.killpg(process.pid, signal.SIGINT)
    done = process.wait(SECONDS)
    assert done.returncode == 130, done.stderr
    (line,) = done.stderr.splitlines()
    assert left_after(out) == []
    if kind == "train":
        step = runs_in(out)[out]
        safe = "the checkpoint of step 0 is whole: continue with --resume --trust"
        assert line == f"refconv: {out}: stopped by Ctrl-C at step {step} of 24, without waiting; {safe}"
        again = ["train", "--resume", "--trust", "--workers", "0", "--out", out]
    else:
        assert re.fullmatch(rf"refconv: {out}: stopped with \d of \d runs done; {SAFE}", line)
        again = command(kind, folder, out)
    for run in unfinished(out):
        whole_step(run, 0)
    ended(again, out)
    same_end(folder / "whole" / kind, out)
    figures(f"stopping: {name}: a second Ctrl-C leaves at once and says what is safe", 1, 1)


HEARS_ALL = ",".join(["SIGQUIT", *(number.name for number in SIGNALS)])
OF_TORCHRUN = [
    pytest.param(number, marks=pytest.mark.skipif(
        number == signal.SIGUSR1 and "--signals-to-handle" not in torchrun_flags().format_help(),
        reason="this torch has no --signals-to-handle",
    ))
    for number in SIGNALS
]  # fmt: skip


@pytest.fixture(scope="module")
def of_two(folder):
    """A run of two processes that nothing disturbs."""
    together(command("train", folder, folder / "whole/torchrun"))
    return folder / "whole/torchrun"


@pytest.fixture
def launched():
    """Return what starts torchrun, which waits for its processes as long as the test does, and ends with the test."""
    processes = []

    def launch(arguments, out, *flags, **more):
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *flags]
        known = environment(out, **{STEP: "6", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(2 * SECONDS)}, **more)
        processes.append(subprocess.Popen(
            [*torchrun, "-m", "refconv", *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, env={**os.environ, **known},
        ))  # fmt: skip
        return processes[0]

    yield launch
    for process in processes:
        process.kill()  # and the kernel ends those that it started
        process.wait()
        process.stderr.close()


def together(arguments):
    done = forked_together(2, CODE, *arguments, seconds=SECONDS, alone=10.0)
    assert [one.returncode for one in done] == [0, 0], done


@pytest.mark.parametrize("to", ["process", "all"])
@pytest.mark.parametrize("number", OF_TORCHRUN)
def test_a_signal_to_torchrun_loses_nothing_and_leaves_no_process(
    number, to, folder, of_two, launched, tmp_path, figures
):
    """Of SIGUSR1, torchrun must be told: it would end at once, and its processes with it."""
    out = tmp_path / "out"
    train = command("train" if to == "process" else "train, workers", folder, out)
    process = launched(train, out, *(["--signals-to-handle", HEARS_ALL] if number == signal.SIGUSR1 else []))
    wait_until(process, lambda: any(at >= REACHED for at in runs_in(out).values()))
    for one in [process.pid] if to == "process" else processes_of(out):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, number)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, errors  # torchrun's own
    assert left_after(out) == []
    step = runs_in(out)[out]
    assert step >= REACHED
    whole_step(out, step)
    (line,) = [line for line in errors.splitlines() if "refconv: " in line]
    assert "; the checkpoint is written: continue with --resume --trust" in line
    assert f"at step {step} of 24" in line
    together([*command("train", folder, out), "--resume", "--trust"])
    same_result(of_two, out)
    figures("stopping: torchrun: a signal loses nothing, one line says how to go on, and no process is left", 1, 1)


def test_ctrl_c_until_torchrun_leaves_keeps_the_last_checkpoint(folder, of_two, launched, tmp_path, figures):
    """It waits for its processes after the first and the second; after the third it ends, and the kernel ends them."""
    out = tmp_path / "out"
    for state in ("waits", "heard"):
        (tmp_path / state).mkdir()
    process = launched(command("train", folder, out), out, **{HELD: str(tmp_path)})
    for state in ("waits", "heard"):
        wait_until(process, lambda state=state: len(list((tmp_path / state).iterdir())) == 2)
        process.send_signal(signal.SIGINT)
    while process.poll() is None:  # two that come too close to one another count as one
        process.send_signal(signal.SIGINT)
        time.sleep(1)
    assert process.returncode != 0  # that of the signal, where it came while torchrun was ending
    assert left_after(out) == []
    whole_step(out, 0)
    together([*command("train", folder, out), "--resume", "--trust"])
    same_result(of_two, out)
    figures("stopping: torchrun: Ctrl-C until it leaves, and the last checkpoint is whole", 1, 1)
