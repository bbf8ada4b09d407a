"""Every operation on files that a run makes goes wrong once, or ends the process: what was trained is kept.

The operations are counted, so that nothing here depends on time; see :mod:`faulty_files`.
"""

import shutil
import signal

import pytest

from faulty_files import BROKEN, FULL, HALF, KILL, READ_ONLY
from run_results import same_result
from small_runs import NETWORK, TRAIN
from small_studies import TINY, changed, write

pytestmark = pytest.mark.faults


def faults_of(forks, command, root, fault, before=lambda: None, every=1, among=lambda operation: True, first=""):
    """Yield the place of each operation, what it is, and how the command ended with this fault there."""
    shutil.rmtree(root, ignore_errors=True)
    before()
    whole = forks.run(command, root=root, first=first)
    assert whole.status == 0, whole.err
    assert len(whole.operations) > 5
    for at in [at for at, operation in enumerate(whole.operations, 1) if among(operation)][::every]:
        shutil.rmtree(root, ignore_errors=True)
        before()
        yield whole.operations[at - 1], forks.run(command, root=root, at=at, fault=fault, first=first)


def said_in_one_line(ran, root):
    """Say whether a command ended as it should: well, or with one line that names a file and a remedy."""
    errors = [line for line in ran.lines if line.startswith("refconv: error: ")]
    if ran.status == 0:
        return not errors and "Traceback" not in ran.err
    words = "".join(errors)
    return ran.status == 2 and len(errors) == 1 and str(root) in words and "; " in words and "Traceback" not in ran.err


@pytest.mark.parametrize("fault", [FULL, READ_ONLY, BROKEN, KILL, HALF])
def test_a_run_is_resumed_to_the_same_result_after_a_fault_at_any_operation(fault, forks, base, tmp_path, figures):
    run, command, wrong, tried = tmp_path / "run", [*TRAIN, "--out", tmp_path / "run"], [], 0
    for operation, ran in faults_of(forks, command, run, fault, every=1 if fault in {FULL, KILL} else 3):
        tried += 1
        well = ran.status == -signal.SIGKILL if fault in {KILL, HALF} else said_in_one_line(ran, run)
        after = forks.run([*command, "--resume", "auto"])
        if not well or after.status or after.lines:
            wrong.append((operation, ran.status, ran.err, after.err))
            continue
        try:
            same_result(base, run)
        except AssertionError as error:
            wrong.append((operation, ran.status, ran.err, str(error)))
    words = {KILL: "killed before", HALF: "killed in the middle of"}.get(fault, f"with a {fault} disk at")
    figures(
        f"a run {words} any operation on files is resumed to the undisturbed run's bytes", tried, tried - len(wrong)
    )
    assert not wrong, wrong[:3]


@pytest.mark.parametrize("fault", [FULL, BROKEN])
def test_loggers_that_cannot_write_are_left_behind(fault, forks, base, tmp_path, figures):
    run, tried, wrong = tmp_path / "run", 0, []
    command = [*TRAIN, "--log", "tensorboard,csv", "--out", run]
    for operation, ran in faults_of(forks, command, run, fault, every=11):
        tried += 1
        after = forks.run([*command, "--resume", "auto"])
        if not said_in_one_line(ran, run) or after.status or after.lines:
            wrong.append((operation, ran.status, ran.err, after.err))
    figures(
        f"a run with loggers ends well or in one line with a {fault} disk at any operation", tried, tried - len(wrong)
    )
    assert not wrong, wrong[:3]


def commands(base, place):
    """Return commands that write, by what they are, with what is to be done before each."""
    study = write(place, {
        **changed(grid=None), "base": {"samples": 64, "lr": 0.1}, "methods": {"plain": {}},
        "study": {**TINY["study"], "samples": 64, "seeds": 1, "val_split": 0.0, "selection_seeds": 1},
    })  # fmt: skip
    out = place / "out"
    improve = ["improve", *NETWORK, "--checkpoint", base, "--data", "digits", "--device", "cpu", "--no-check"]
    scenes = ["data", "scenes", "--train", "1", "--val", "1", "--test", "1"]
    return {
        "merge": ["merge", base, "-o", out / "model"],
        "merge --force": ["merge", base, "--force", "-o", out / "model"],
        "adopt": ["adopt", base / "model/model.safetensors", *NETWORK, "--img-size", "8", "-o", out / "adopted"],
        "export": ["export", base, "-o", out / "model.torchscript"],
        "predict": ["predict", base, place / "image.png", "--device", "cpu", "-o", out / "predicted"],
        "analyze": ["analyze", "--before", base, "--after", base, "--only", "spectrum", "-o", out / "analysis"],
        "report": ["report", base, "--before", base, "--only", "redundancy", "-o", out / "page.html"],
        "compare": ["compare", study, "--out", out / "study", "--journal", out / "study.jsonl"],
        "improve": [*improve, "--budget", "3000 samples", "--out", out / "improved"],
        "data scenes": [*scenes, "--source", "digits", "-o", out / "scenes"],
        "recipes cp": ["recipes", "cp", "digits", out],
    }  # fmt: skip


EVERY = {"improve": 61, "data scenes": 13, "analyze": 11, "compare": 9, "merge": 2, "adopt": 2}
"""Of the operations of long commands only some are tried."""
NAMES = [
    "merge", "merge --force", "adopt", "export", "predict", "analyze", "report", "compare", "improve", "data scenes",
    "recipes cp",
]  # fmt: skip


@pytest.mark.parametrize("fault", [FULL, READ_ONLY])
@pytest.mark.parametrize("name", NAMES)
def test_commands_that_cannot_write_say_so_and_leave_nothing_half(name, fault, forks, base, tmp_path, figures):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    command, out = commands(base, tmp_path)[name], tmp_path / "out"

    def before():
        out.mkdir()
        if name == "merge --force":
            shutil.copytree(base / "model", out / "model")

    before()
    forks.learn(command)
    wrong, tried = [], 0
    for operation, ran in faults_of(forks, command, out, fault, before, EVERY.get(name, 1)):
        tried += 1
        kept = next(
            place for place in (out / "model", out / ".model.former") if place.exists() or name != "merge --force"
        )
        whole = name != "merge --force" or forks.run(["verify", base, kept]).status == 0
        after = forks.run(command)
        again = after.status == 0 or "exists already" in after.err  # also where only what is tidied up failed
        if not said_in_one_line(ran, out) or not whole or not again:
            wrong.append((operation, ran.status, ran.err, after.err))
    figures(f"refconv {name} with a {fault} disk at any operation: one line, and the same command works later", tried,
            tried - len(wrong))  # fmt: skip
    assert not wrong, wrong[:3]


# The same networks are converted to OpenVINO once, which takes seconds; where the files go is tried every time.
CONVERTED_ONCE = """
import shutil
from pathlib import Path
from refconv.exporting import formats
kept, honest = Path({!r}), formats._write_openvino
def write(network, example, free, path, config, said):
    own = kept / ("half" if config.half else "float") / path.name
    if not own.exists():
        own.parent.mkdir(parents=True, exist_ok=True)
        honest(network, example, free, own, config, said)
    for ending in (".xml", ".bin"):
        shutil.copyfile(own.with_suffix(ending), path.with_suffix(ending))
formats._write_openvino = write
"""


@pytest.mark.parametrize("name", ["model.torchscript", "model.xml", "hub"])
def test_an_export_that_is_killed_leaves_what_was_there_or_what_was_checked(name, forks, base, tmp_path, figures):
    out, kept, once = tmp_path / "out", tmp_path / "kept", CONVERTED_ONCE.format(str(tmp_path / "converted"))
    about, former = (["--format", "hub", "--license", "mit"], []) if name == "hub" else ([], ["--half"])
    assert forks.run(["export", base, "-o", kept / name, *about, *former], first=once).status == 0
    command = ["export", base, "--force", "-o", out / name, *about]

    def before():
        shutil.copytree(kept, out)

    before()
    forks.learn(command)
    wrong, tried = [], 0

    def moves(operation):
        return ".partial/" not in operation or operation.endswith(f".partial/{name}")

    for operation, ran in faults_of(forks, command, out, KILL, before, among=moves, first=once):
        tried += 1
        places = [place for place in (out / name, out / f".{name}.former") if place.exists()]
        read = ["--data", "digits", "--device", "cpu", "--trust"]
        whole = [forks.run(["eval", place, *read]).status == 0 for place in places[:1]]
        after = forks.run(command, first=once)
        left = [entry.name for entry in out.iterdir() if entry.name.endswith((".partial", ".former"))]
        if (
            ran.status != -signal.SIGKILL
            or whole != [True] * (name != "model.xml" or len(whole))
            or after.status
            or left
        ):
            wrong.append((operation, ran.status, ran.err, whole, after.err, left))
    figures("an export killed before any operation leaves what was there or what was checked", tried,
            tried - len(wrong))  # fmt: skip
    assert not wrong, wrong[:3]
