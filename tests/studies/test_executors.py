"""Where runs are executed, and what is said of settings that have no meaning there."""

import importlib.util

import pytest

from refconv.cli import main
from refconv.errors import SettingError
from refconv.improvement import Budget, ImproveConfig
from refconv.studies import CompareConfig, executors
from refconv.studies.local import ProcessExecutor, SerialExecutor
from refconv.studies.on_ray import Resources as RayResources
from refconv.studies.on_slurm import Resources as SlurmResources
from small_studies import changed, write


@pytest.fixture
def installed(monkeypatch):
    """Let every package seem to be installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


def test_the_default_is_this_machine(tmp_path):
    assert isinstance(CompareConfig(jobs=1).opened("all", tmp_path), SerialExecutor)
    several = CompareConfig(jobs=3, threads=1).opened("all", tmp_path)
    assert isinstance(several, ProcessExecutor)
    assert several.slots == 3
    improve = ImproveConfig(budget=Budget.parse("1ep"), jobs=2, threads=5)
    assert improve.sharing() == (2, 5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"executor": "slrm"}, "executor: unknown; expected local or ray or slurm, found 'slrm'; did you mean slurm?"),
        ({"executor_options": {"gpus": 1}}, "executor_options: unknown option of local; expected none, found gpus"),
        ({"executor": "ray", "executor_options": {"gpu": 1}},
         "unknown option of ray; expected cpus, gpus, memory, address, found gpu; did you mean gpus?"),
        ({"executor": "ray", "executor_options": {"gpus": 2}}, "executor_options: gpus: a run uses one GPU; found 2"),
        ({"executor": "ray", "executor_options": {"cpus": 0}}, "cpus: .* expected a number above 0, found 0"),
        ({"executor": "slurm", "executor_options": {"gpus": 0.5}}, "gpus: .* expected a whole number, found 0.5"),
        ({"executor": "slurm", "executor_options": {"memory": "lots"}}, "memory: not possible; .* found 'lots'"),
        ({"executor": "slurm", "executor_options": {"time": "soon"}}, "time: no time limit; expected .* found 'soon'"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_said_at_once(installed, settings, words):
    with pytest.raises(SettingError, match=words.replace("?", r"\?")):
        CompareConfig(**settings)


@pytest.mark.parametrize(("executor", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_is_one_line_that_names_the_extra(tmp_path, monkeypatch, capsys, executor, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    path = write(tmp_path, changed())
    assert main(["compare", str(path), "--out", str(tmp_path / "out"), "--executor", executor]) == 2
    assert capsys.readouterr().err == (
        f"refconv: error: executor: {executor} needs the package {package}; pip install 'refconv[{executor}]'\n"
    )
    assert not (tmp_path / "out").exists()
    command = ["improve", "--model", "resnet18", "--pretrained", "--data", "digits", "--budget", "1ep", "--out", "x"]
    assert main([*command, "--executor", executor]) == 2
    assert f"pip install 'refconv[{executor}]'" in capsys.readouterr().err


def test_options_become_what_each_run_gets(installed):
    ray = CompareConfig(executor="ray", executor_options={"cpus": 4, "gpus": 0.5, "address": "10.0.0.1:6379"}, jobs=7)
    assert ray._wanted() == RayResources(cpus=4, gpus=0.5, memory=None, address="10.0.0.1:6379")
    assert ray.sharing() == (7, 4)
    options = {
        "cpus": 8,
        "gpus": 1,
        "memory": 32,
        "time": "8:00:00",
        "partition": "gpu",
        "qos": "high",
        "mail_type": "END",
    }
    slurm = CompareConfig(executor="slurm", executor_options=options)
    other = {"qos": "high", "mail-type": "END"}
    assert slurm._wanted() == SlurmResources(cpus=8, gpus=1, memory=32, minutes=480, partition="gpu", other=other)
    assert slurm.sharing() == (16, 8)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("90min", 90), ("8h", 480), ("2d", 2880), ("90:30", 90), ("8:00:00", 480), ("1-12", 2160),
     ("1-12:30", 2190), ("1-00:00:00", 1440)],
)  # fmt: skip
def test_a_time_limit_is_what_slurm_reads(text, minutes):
    assert executors._minutes(text) == minutes


def test_options_of_the_command_line_reach_the_executor(tmp_path, installed, monkeypatch):
    given = []

    def noted(read, folder, config):
        given.append(config)
        raise SettingError("enough")

    monkeypatch.setattr("refconv.studies.conduct.compare", noted)
    flags = [
        "--executor",
        "slurm",
        "--executor-options",
        "gpus=1",
        "--executor-options",
        "partition=gpu",
        "--jobs",
        "4",
    ]
    assert main(["compare", str(write(tmp_path, changed())), "--out", str(tmp_path / "out"), *flags]) == 2
    (config,) = given
    assert (config.executor, config.executor_options, config.jobs) == ("slurm", {"gpus": 1, "partition": "gpu"}, 4)
