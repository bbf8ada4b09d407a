"""One, two and three processes train alike, go on where others stopped, and end together when one fails."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import run_many
from labelled_tables import write_tables
from masked_folders import write_masks
from refconv.data.scenes import make_scenes
from refconv.engine import RunRecord
from refconv.models.checkpoint import Checkpoint
from run_results import read_metrics, same_result
from several_processes import forked_together, running, several_processes

pytestmark = pytest.mark.faults

SCRIPT = Path(run_many.__file__)

# How far weights may end apart, as a share of how far training moved them. An entry of a gradient is a sum over samples
# and places, of which these networks have up to n = 2000 * 64. Two orders of such a sum differ by at most
# 2 (n - 1) u of the sum of the absolute terms, u = 2^-24; if rounding errors are independent, by about sqrt(2 n) u
# = 3e-5 of it. Of the gradient that is more by as much as terms cancel, and steps of 0.02 hardly enlarge it.
# A wrong weight or seed gives 1e-2 and more; see test_what_is_left_out_shows.
BOUND = 1e-4
# Heads of detectors normalise over the few places of small maps and choose anchors by thresholds: a rounding error may
# turn a ReLU, whose share of a gradient no sum of errors bounds. RetinaNet's ends are 2e-4 apart on one processor, and
# 2e-9 with weights and samples in float64; a start that is one rounding error away gives up to 3e-5 in one process.
OF_HEADS = 1e-3
# Under bf16 the gradients of each share are rounded to 8 bits before they are summed, as all else is: the number of
# processes may make twice the difference that bf16 makes in one process, since both ends are rounded.
IN_FLOAT32 = {"bf16": "plain", "bf16, batch norms": "batch norms"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    write_masks(folder / "data/masks", splits={"train": 9, "val": 2, "test": 4})
    write_tables(folder / "data/table")
    make_scenes(folder / "data/scenes", train=16, val=2, test=5, size=64, source="digits")
    for count in (1, 2, 3):
        several_processes(count, SCRIPT, folder, "equal")
    return folder


def numbers(state):
    """Return the floating-point tensors of a state, by name."""
    return {name: value.double() for name, value in state.items() if value.is_floating_point()}


def apart(run, other, start):
    """Return how far two results are apart, as a share of how far the first has moved from the start."""
    one, two = (numbers(load_file(path / "model/model.safetensors")) for path in (run, other))
    return distance(one, two) / distance(one, numbers(torch.load(start / "start.pt")))


def distance(one, other):
    return sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_train_as_one_does(count, folder, figures):
    found, wrong = {}, []
    alone = folder / "equal/1"
    for name in run_many.EQUAL:
        one, several = alone / name, folder / f"equal/{count}" / name
        found[name] = apart(one, several, one)
        bound = OF_HEADS if name in run_many.HEADS else BOUND
        if name in IN_FLOAT32:
            bound = 2 * apart(one, alone / IN_FLOAT32[name], one)
        records = [RunRecord.read(run / "record.json") for run in (one, several)]
        assert records[1].processes == count
        same = records[0].test_samples == records[1].test_samples > 0  # each counted once
        losses = [[row["loss"] for row in read_metrics(run / "metrics.jsonl", "train")] for run in (one, several)]
        tested = [
            [row.get("loss", 0.0) for row in read_metrics(run / "metrics.jsonl", "test")] for run in (one, several)
        ]
        for numbers_of in (losses, tested):  # near rounding error of the weights, as slopes here are of order 1
            same = same and torch.allclose(*map(torch.tensor, numbers_of), rtol=bound, atol=bound)
        if not same or found[name] > bound:
            wrong.append((name, found[name], bound, losses, tested))
    worst = max(share for name, share in found.items() if name not in IN_FLOAT32)
    figures(f"{count} processes train as one does", len(found), len(found) - len(wrong), worst=worst)
    assert not wrong


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", run_many.DIFFERENT)
def test_what_belongs_to_a_share_shows(name, count, folder, figures):
    """The bound tells them apart: statistics of a share's batch, and draws in the shape of a share."""
    one, several = (folder / "equal" / number / name for number in ("1", str(count)))
    assert apart(one, several, one) > 30 * BOUND
    figures("what depends on the share of a process is told apart by the bound", 1, 1)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resumed")
    for count in (1, 2, 3):
        several_processes(count, SCRIPT, folder, "resumed")
    for count in (1, 2, 3):
        for other in (1, 2, 3):
            shutil.copytree(folder / f"resumed/{other}/middle", folder / f"going on/{count}/from {other}")
        several_processes(count, SCRIPT, folder, "going on")
    return folder


def samples_of(folder, name, steps):
    """Return which samples each of some steps had, in all processes together."""
    seen = {step: [] for step in steps}
    for file in folder.glob(f"{name}, process *.txt"):
        for line in file.read_text().splitlines():
            step, sample = line.split()
            if int(step) in seen:
                seen[int(step)].append(sample)
    return {step: sorted(found) for step, found in seen.items()}


def test_a_run_goes_on_in_any_number_of_processes(resumed, figures):
    pairs = [(first, then) for first in (1, 2, 3) for then in (1, 2, 3)]
    distances = {}
    whole = resumed / "resumed/1/whole"
    expected = samples_of(resumed / "resumed/1", "whole", range(8))
    assert all(len(samples) == 32 for samples in expected.values())
    for first, then in pairs:
        run = resumed / f"going on/{then}/from {first}"
        distances[first, then] = apart(whole, run, resumed / "resumed/1/whole")
        seen = samples_of(resumed / f"resumed/{first}", "whole", range(3))
        seen |= samples_of(resumed / f"going on/{then}", f"from {first}", range(3, 8))
        assert seen == expected, (first, then)  # none repeated, none lost
        if first == then:
            own = (resumed / f"resumed/{first}/whole/model/model.safetensors").read_bytes()
            assert own == (run / "model/model.safetensors").read_bytes()
    right = sum(distance <= BOUND for distance in distances.values())
    worst = max(distances.values())
    figures("a run goes on in another number of processes", len(pairs), right, worst=worst)
    assert right == len(pairs), distances


@pytest.mark.parametrize("count", [2, 3])
def test_detectors_are_resumed_exactly(count, tmp_path, figures):
    """RetinaNet, SSDlite and FCOS: in two processes in kernel space with an average, in three in gradient space."""
    make_scenes(tmp_path / "data/scenes", train=16, val=2, test=5, size=64, source="digits")
    several_processes(count, SCRIPT, tmp_path, "heads", seconds=550)
    runs = sorted((tmp_path / f"heads/{count}").iterdir())
    assert len(runs) == len(run_many.HEADS)
    for run in runs:
        whole, resumed = run / "whole", run / "middle"
        start = torch.load(whole / "start.pt")
        assert distance(numbers(load_file(whole / "model/model.safetensors")), numbers(start)) > 0
        same_result(whole, resumed)
        assert RunRecord.read(resumed / "record.json").processes == count
    figures(f"detectors are resumed exactly in {count} processes", len(runs), len(runs))


FAILURES = {
    "bad sample": "refconv: a.png: cannot read the image",
    "first bad sample": "refconv: a.png: cannot read the image",
    "exception": "IndexError: nothing there",
    "killed": "another process of the run ended without a word",
    "first killed": "another process of the run ended without a word",
    "hangs": "another process of the run did not answer for 0.15 minutes",
}


@pytest.mark.parametrize("launched", [True, False], ids=["torchrun", "first holds the store"])
@pytest.mark.parametrize("how", FAILURES)
def test_all_end_when_one_fails_and_one_line_says_why(how, launched, tmp_path, figures):
    tried, right = [2, 3], []
    for count in tried:
        folder = tmp_path / str(count)
        lost = 0 if how.startswith("first") else count - 1
        settings = {"seconds": 240, "hangs": lost if how == "hangs" else None, "launched": launched}
        ended = forked_together(count, running(SCRIPT), folder, "failing", how, **settings)
        failed = ended.pop(lost)
        assert all(other.returncode == 2 for other in ended), ended
        assert failed.returncode == {"exception": 1, "killed": -9, "first killed": -9, "hangs": -9}.get(how, 2)
        speak, silent = ([failed], ended) if "killed" not in how and how != "hangs" else (ended, [failed])
        assert not any(one.stdout + one.stderr for one in silent), silent
        lines = [line for one in speak for line in (one.stdout + one.stderr).splitlines()]
        # Of two processes that wait for one that hangs, the second may find that the first has given up and ended.
        said = {FAILURES[how], FAILURES["killed"]} if how == "hangs" and count > 2 else {FAILURES[how]}
        assert any(words in lines[-1] for words in said), lines
        assert len(lines) == 1 or how == "exception"
        assert Checkpoint.load(folder / "run/checkpoint.pt").step == 4
        right.append(count)
    figures(f"a process that fails ends the others, and one line says why: {how}", len(tried), len(right))
