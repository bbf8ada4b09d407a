"""Run folders: one run, one process, whole files."""

import os
import subprocess
import sys

import pytest

from refconv.errors import CheckpointError, RefconvWarning, RunError
from refconv.models.run_folder import RunFolder, locked, write_whole
from refconv.recipe.recipe import Recipe


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def start_run(folder, *names):
    for name in names or ("checkpoint.pt",):
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).write_bytes(b"x")


def test_a_folder_that_exists_is_not_started_again(folder):
    start_run(folder)
    with pytest.raises(RunError, match=r"run: the run folder exists already; found checkpoint\.pt; .*--resume"):
        folder.opened(resume=False).__enter__()
    assert (folder.path / "checkpoint.pt").read_bytes() == b"x"


def test_an_empty_folder_is_fine(folder):
    folder.path.mkdir()
    with folder.opened(resume=False):
        assert folder.path.is_dir()


def test_a_folder_in_which_nothing_was_written_is_removed(folder):
    with folder.opened(resume=False):
        pass
    assert not folder.path.exists()


@pytest.mark.parametrize(
    ("prepare", "found"),
    [(lambda folder: None, "no folder"), (lambda folder: start_run(folder, "recipe.toml"), "recipe.toml")],
    ids=["no folder", "no checkpoint"],
)
def test_resuming_needs_a_checkpoint(prepare, found, folder):
    prepare(folder)
    with pytest.raises(RunError, match=f"nothing to resume; expected a file checkpoint.pt, found {found}"):
        folder.opened(resume=True).__enter__()


def test_what_is_said_of_an_incomplete_run_leads_out_of_it(folder):
    start_run(folder, "model/x", "record.json")
    for resume in (True, False):
        with pytest.raises(RunError) as caught:
            folder.opened(resume=resume).__enter__()
        assert "--resume" not in caught.value.remedy
    with pytest.raises(RunError, match="nothing to resume; .* its result is plain already: .*model"):
        folder.recipe_to_resume()
    start_run(folder, "checkpoint.pt")
    with pytest.raises(RunError, match=r"a run whose recipe is missing; .* the command that trained it .* --resume"):
        folder.recipe_to_resume()


def test_a_folder_of_other_things_is_not_to_be_resumed(folder):
    start_run(folder, "images")
    for resume, words in ((False, "exists already; found images; give another folder"), (True, "in another folder")):
        with pytest.raises(RunError, match=words):
            folder.opened(resume=resume).__enter__()


def test_a_file_is_no_folder(folder):
    folder.path.write_text("")
    with pytest.raises(RunError, match="run: not a folder"):
        folder.opened(resume=False).__enter__()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/run: cannot write; found Not a directory"):
        RunFolder(tmp_path / "file" / "run").opened(resume=False).__enter__()


HOLD = """
import sys
from refconv.models.run_folder import RunFolder
with RunFolder(sys.argv[1]).opened(resume=True):
    print("held", flush=True)
    sys.stdin.read()  # until the test ends
"""


def start_holder(code, folder, **settings):
    """Start a process that holds the folder until it is killed or the test ends, however long that takes."""
    command = [sys.executable, "-c", code, str(folder.path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **settings)


def test_two_processes_cannot_use_one_folder_and_death_frees_it(folder):
    start_run(folder)
    with start_holder(HOLD, folder) as holder:
        assert holder.stdout.readline() == "held\n"
        for resume in (False, True):
            with pytest.raises(RunError, match="in use by another process"):
                folder.opened(resume=resume).__enter__()
        holder.kill()
    with folder.opened(resume=True):
        assert folder.checkpoint_file.exists()


FORK = """
import os, sys
from refconv.models.run_folder import RunFolder
with RunFolder(sys.argv[1]).opened(resume=True):
    os.write(1, b"forked\\n" if os.fork() == 0 else b"held\\n")  # each in one piece
    sys.stdin.read()  # until the test ends
"""


def test_a_forked_child_does_not_keep_the_folder_locked(folder):
    start_run(folder)
    with start_holder(FORK, folder, start_new_session=True) as holder:
        assert {holder.stdout.readline(), holder.stdout.readline()} == {"held\n", "forked\n"}
        holder.kill()
        holder.wait()
        with folder.opened(resume=True):
            assert folder.checkpoint_file.exists()
        os.killpg(holder.pid, 9)


def test_write_whole_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "file"
    for content in (b"one", b"two"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_recipe_of_a_run_is_read_from_its_folder(folder):
    recipe = Recipe(model="test_resnet", data="digits", seed=3)
    folder.path.mkdir()
    folder.recipe_file.write_text(recipe.to_toml({"python": "3"}))
    assert folder.recipe() == recipe
    assert folder.holds(recipe)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("seed = 3", "seed = 4"),
        lambda text: text.partition("lr = ")[0],  # cut
        lambda text: text.partition("\n")[2],  # without its first line
    ],
)
def test_a_recipe_that_is_not_what_was_written_is_refused_as_that_of_the_run_and_read_as_a_recipe(folder, change):
    recipe = Recipe(model="test_resnet", data="digits", seed=3)
    folder.path.mkdir()
    text = recipe.to_toml({"python": "3"})
    folder.recipe_file.write_text(change(text))
    assert folder.recipe_file.read_text() != text
    with pytest.raises(CheckpointError, match=r"recipe\.toml: damaged or changed"):
        folder.recipe()
    assert not folder.holds(recipe)
    assert Recipe.from_toml(folder.recipe_file).model == "test_resnet"


def test_a_recipe_of_a_version_without_digests_is_read_with_a_note(folder):
    recipe = Recipe(model="test_resnet", data="digits", seed=3)
    folder.path.mkdir()
    folder.recipe_file.write_text(f'{recipe.to_toml()}\n[versions]\npython = "3"\n')
    with pytest.warns(RefconvWarning, match=r"recipe\.toml: written by a version that kept no digest"):
        assert folder.recipe() == recipe


def test_a_locked_folder_is_named_and_free_again_afterwards(tmp_path):
    with locked(tmp_path / "study", "study folder"):
        second = locked(tmp_path / "study", "study folder")
        with pytest.raises(RunError, match="study: the study folder is in use by another process"):
            second.__enter__()
    with locked(tmp_path / "study", "study folder"):
        assert (tmp_path / "study").is_dir()


def test_a_folder_that_is_moved_while_it_is_written_is_one_line(folder, tmp_path):
    def write():
        with folder.opened(resume=False):
            folder.path.rename(tmp_path / "moved")
            write_whole(folder.checkpoint_file, b"content")

    words = "found .*; the folder was moved or removed: if moved, .* with --resume; if removed, start the run again"
    with pytest.raises(RunError, match=words) as caught:
        write()
    assert "\n" not in str(caught.value)
    assert (tmp_path / "moved").is_dir()
