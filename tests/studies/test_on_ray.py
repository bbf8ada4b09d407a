"""A study on a real Ray cluster of several nodes, each a process of this machine; one of them is killed."""

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from fake_slurm import below, files_of
from refconv.engine import train
from refconv.errors import RunError, SettingError
from refconv.improvement import Budget, ImproveConfig, improve_recipe
from refconv.models.run_folder import RunFolder
from refconv.process.interruption import StoppedError
from refconv.recipe.recipe import Recipe
from refconv.studies import CompareConfig, conduct
from small_studies import TINY, study

pytestmark = [
    pytest.mark.executors,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
LONG = {"study": {"seeds": 1, "samples": 60_000}, "base": {"samples": 1000}, "grid": {"lr": [0.05]}}


@pytest.fixture(scope="module")
def cluster():
    """Return a cluster whose head takes no runs, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in os.sys.path if path))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def nodes(cluster):
    """Return two nodes, each with room for one run."""
    made = [cluster.add_node(num_cpus=1, num_gpus=0) for _ in range(2)]
    yield made
    for node in made:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)


def compare(read, out, **rest):
    return conduct.compare(read, out, CompareConfig(executor="ray", show=False, **rest))


def raylet_of(node):
    return node.all_processes["raylet"][0].process.pid


def kill_the_node_of(folder, cluster, nodes, killed):
    """Wait until a run has checkpoints, and kill its node at once: first what trains, then the raylet."""
    metrics, lock = RunFolder(folder).metrics_file, str(folder / ".lock")
    while not (metrics.is_file() and '"step": 240' in metrics.read_text(encoding="utf-8")):
        time.sleep(0.02)
    for node in nodes:
        started = below(raylet_of(node))
        if any(lock in files_of(pid) for pid in started):
            for pid in [*started, raylet_of(node)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            killed.append(metrics.read_text(encoding="utf-8"))
            cluster.remove_node(node, allow_graceful=False)


def test_a_killed_node_loses_nothing_and_no_run_is_done_twice(cluster, nodes, tmp_path, monkeypatch):
    log = tmp_path / "processes"
    log.mkdir()
    monkeypatch.chdir(tmp_path)
    recipe = {**TINY["recipe"], "batch_size": 64, "checkpoint_interval": 100, "log_interval": 20}
    built = {"mobilenet": {"model": "small_studies:noted", "model_kwargs": {"width": 0.25}}}
    read = study(tmp_path, **LONG, recipe=recipe, architectures=built)
    expected = conduct.compare(read, Path("here"), CompareConfig(jobs=1, threads=1, show=False))
    here = set(log.iterdir())
    killed = []
    victim = tmp_path / "there/final/mobilenet/plain/lr-0.05/seed-0"
    killer = threading.Thread(target=kill_the_node_of, args=(victim, cluster, nodes, killed), daemon=True)
    killer.start()
    found = compare(read, Path("there"))
    killer.join(10)
    assert len(killed) == 1
    assert [cell.values for cell in found.cells] == [cell.values for cell in expected.cells]
    assert found.missing == {}
    assert len(set(log.iterdir()) - here) == 3 + 1  # three runs, one of them in two sessions
    whole = (victim / "metrics.jsonl").read_text(encoding="utf-8")
    kept = [line for line in killed[0].splitlines() if json.loads(line)["step"] <= 200]
    assert len(kept) >= 10
    assert whole.splitlines()[: len(kept)] == kept  # it went on, with the times of the first session
    assert not [path for path in (tmp_path / "there").rglob(".*") if path.suffix in {".permit", ".taken"}]


def test_ctrl_c_leaves_checkpoints_and_the_same_command_goes_on(nodes, tmp_path, monkeypatch):
    recipe = {**TINY["recipe"], "batch_size": 64, "checkpoint_interval": 10_000}
    read = study(tmp_path, **LONG, recipe=recipe)
    out = tmp_path / "out"
    expected = conduct.compare(read, tmp_path / "here", CompareConfig(jobs=1, threads=1, show=False))

    def interrupt():
        finals = [out / f"final/mobilenet/{method}/lr-0.05/seed-0/metrics.jsonl" for method in ("plain", "refocus")]
        while not all(path.is_file() and path.stat().st_size for path in finals):
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(StoppedError, match="stopped with 1 of 3 runs done"):
        compare(read, out)
    assert len(list(out.rglob("checkpoint.pt"))) == 2
    assert not [path for path in out.rglob(".*") if path.suffix in {".permit", ".taken"}]
    found = compare(read, out)
    assert [cell.values for cell in found.cells] == [cell.values for cell in expected.cells]


def test_improve_runs_on_a_cluster(nodes, tmp_path):
    model = {"model": "refconv.models.networks:mobilenet_small", "model_kwargs": {"width": 0.25}}
    common = {**model, "data": "digits", "device": "cpu", "workers": 0, "batch_size": 64, "val_split": 0.2}
    train(Recipe(**common, epochs=2, lr=0.1), tmp_path / "base", show=False)
    recipe = Recipe(**common, lr=0.03, checkpoint=str(tmp_path / "base/model"))
    config = ImproveConfig(budget=Budget.parse("8ep"), executor="ray", show=False)
    record = improve_recipe(recipe, tmp_path / "better", config, given=("batch_size",))
    assert record.certificate.same_structure
    assert (tmp_path / "better/model").is_dir()


def test_a_cluster_without_room_is_said_at_once(nodes):
    has = "found cpus=0, gpus=0; cpus=1, gpus=0; cpus=1, gpus=0; ask for less"
    words = f"no machine of the Ray cluster has room for a run; expected cpus=3, gpus=0, {has}"
    with pytest.raises(SettingError, match=words):
        CompareConfig(executor="ray", executor_options={"cpus": 3}).sharing()
    assert CompareConfig(executor="ray").sharing() == (2, 1)
    assert CompareConfig(executor="ray", executor_options={"cpus": 0.5}).sharing() == (4, 1)


def test_an_address_without_a_cluster_is_one_line(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    options = {"address": "127.0.0.1:1"}
    with pytest.raises(RunError, match="127.0.0.1:1: no Ray cluster there; found .*; start one with ray start"):
        CompareConfig(executor="ray", executor_options=options).sharing()
