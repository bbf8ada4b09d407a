"""Checkpoints: whole or not at all, and read without running code."""

import os
import pickle

import pytest
import torch

from ready_processes import run_script
from refconv.digests import with_digest
from refconv.errors import CheckpointError, RunError
from refconv.models.checkpoint import Checkpoint, load_model_state
from refconv.models.creation import ModelSpec
from refconv.surgery import refocused_state_dict
from run_checkpoints import INFO, save_checkpoint, small_recipe


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pt"


def test_a_checkpoint_comes_back_the_same(path):
    model = save_checkpoint(path, small_recipe(seed=3))
    loaded = Checkpoint.load(path)
    assert (loaded.step, loaded.trained_by(), loaded.data_info()) == (5, small_recipe(seed=3), INFO)
    assert all(torch.equal(value, loaded.model[key]) for key, value in refocused_state_dict(model).items())


def test_refocused_kernels_have_our_own_names(path):
    save_checkpoint(path, small_recipe())
    names = Checkpoint.load(path).model
    assert any(name.endswith(".base") for name in names)
    assert any(name.endswith(".refocus_weight") for name in names)
    assert not any("parametrizations" in name for name in names)


def test_a_truncated_checkpoint_is_refused(path):
    save_checkpoint(path, small_recipe())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: damaged"):
        Checkpoint.load(path)


class Evil:
    def __reduce__(self):
        return os.system, ("echo owned > owned.txt",)


@pytest.mark.parametrize("save", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))], ids=["torch", "pickle"])
def test_a_malicious_checkpoint_is_refused_and_not_run(save, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    save({"format": 1, "model": Evil()}, path)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: (refused|damaged, or a pickle)"):
        Checkpoint.load(path)
    assert not (path.parent / "owned.txt").exists()


@pytest.mark.parametrize(
    ("content", "found"),
    [({"weight": torch.zeros(2)}, "no format"), ({"format": 99}, "format 99"), ({"format": 1, "step": 3}, "format 1")],
    ids=["weights", "another version", "half"],
)
def test_a_foreign_file_is_refused(content, found, path):
    torch.save(with_digest(content), path)
    with pytest.raises(CheckpointError, match=f"not a checkpoint of a run; expected format 1, found {found}"):
        Checkpoint.load(path)


def test_a_missing_file_is_refused(path):
    with pytest.raises(CheckpointError, match="no such file"):
        Checkpoint.load(path)


def test_a_state_of_another_model_is_refused(path):
    save_checkpoint(path, small_recipe())
    other = ModelSpec.of_run(small_recipe(model_kwargs={"width": 0.5}), INFO).build()
    with pytest.raises(CheckpointError, match="does not fit the model of its recipe"):
        load_model_state(other, Checkpoint.load(path).model, where="here")


def test_other_settings_are_listed(path):
    save_checkpoint(path, small_recipe(lr=0.1))
    checkpoint = Checkpoint.load(path)
    checkpoint.check_recipe(small_recipe(lr=0.1, workers=0, log_interval=7), where="run")
    with pytest.raises(RunError, match=r"run: .* other settings; expected lr=0.1, seed=0, found lr=0.2, seed=4"):
        checkpoint.check_recipe(small_recipe(lr=0.2, seed=4), where="run")


def test_a_recipe_of_another_version_is_refused(path):
    save_checkpoint(path, small_recipe())
    content = torch.load(path, weights_only=True)
    content["recipe"]["wings"] = 2
    torch.save(with_digest(content), path)
    with pytest.raises(CheckpointError, match="recipe of another version; found wings: unknown key"):
        Checkpoint.load(path).trained_by()


def test_a_full_disk_leaves_the_old_checkpoint_whole(path, monkeypatch):
    save_checkpoint(path, small_recipe(seed=1))
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"checkpoint\.pt: cannot write; found No space left on device; .*--resume"):
        save_checkpoint(path, small_recipe(seed=2))
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["checkpoint.pt"]


def test_death_in_the_middle_of_writing_leaves_the_old_checkpoint_whole(path):
    save_checkpoint(path, small_recipe())
    before = path.read_bytes()
    code = f"""
import os, signal
from pathlib import Path
from refconv.models.run_folder import write_whole
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path({str(path)!r}), b"half")
"""
    assert run_script(code).returncode == -9
    assert path.read_bytes() == before
    assert Checkpoint.load(path).step == 5
