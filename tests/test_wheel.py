"""The distribution: built, checked and installed in fresh environments, first the core alone, then with all extras."""

import os
import shutil
import subprocess
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from test_core_alone import SCRIPT

pytestmark = pytest.mark.wheel
TOP = Path(__file__).parents[1]
SMALL = ["--model", "refconv.models.networks:mobilenet_small", "--model-kwargs", "width=0.25", "--data", "digits"]


def run(*words, cwd, status=0):
    """Run a program outside of the source tree, and return what it says."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "REFCONV", "VIRTUAL_ENV"))}
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=kept, capture_output=True, text=True)
    assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def found(version):
    """Return a Python of this version, on the path or of pyenv; its stand-ins on the path may lead nowhere."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for python in (shutil.which(f"python{version}"), *sorted(versions.glob(f"{version}.*/bin/python"))):
        if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """Return the Python of an environment that builds and checks distributions."""
    folder = tmp_path_factory.mktemp("tools")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv/bin/python"
    run(python, "-m", "pip", "install", "-q", "build", "twine", cwd=folder)
    return python


@pytest.fixture(scope="module")
def built(tools, tmp_path_factory):
    """Return the wheel, which is made of the sdist, which is made of the files that git tracks."""
    source = tmp_path_factory.mktemp("source")
    for name in subprocess.check_output(["git", "ls-files", "-z"], cwd=TOP, text=True).split("\0"):
        if name and (TOP / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(TOP / name, source / name)
    run(tools, "-m", "build", cwd=source)
    return next((source / "dist").glob("*.whl"))


def test_the_metadata_and_the_description_are_valid(tools, built):
    assert (
        run(tools, "-m", "twine", "check", "--strict", *built.parent.iterdir(), cwd=built.parent).count("PASSED") == 2
    )


def test_the_wheel_holds_the_package_with_recipes_and_studies_and_nothing_else(built):
    names = {name for name in zipfile.ZipFile(built).namelist() if ".dist-info/" not in name}
    tracked = subprocess.check_output(["git", "ls-files", "src"], cwd=TOP, text=True).split()
    shipped = {path.relative_to(TOP) for kind in ("recipes", "studies") for path in (TOP / kind).glob("*.toml")}
    assert names == {name.removeprefix("src/") for name in tracked} | {f"refconv/shipped/{name}" for name in shipped}


def test_the_sdist_holds_what_the_tests_need(built):
    archive = next(built.parent.glob("*.tar.gz"))
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"pyproject.toml", "Makefile", "tests/conftest.py", "docs/index.md", "studies/main.toml", "LICENSE"} <= names
    assert not [name for name in names if name.startswith((".venv", "build", "dist", "runs"))]


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_installed_in_a_fresh_environment(version, built, tmp_path):
    python = found(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    try:
        run(python, "-m", "venv", "env", cwd=tmp_path)
        python, refconv = tmp_path / "env/bin/python", tmp_path / "env/bin/refconv"
        run(python, "-m", "pip", "install", "-q", built, cwd=tmp_path)
        check_the_core(python, refconv, tmp_path)
        run(python, "-m", "pip", "install", "-q", f"{built}[all]", cwd=tmp_path)
        check_all(python, refconv, tmp_path)
    finally:
        shutil.rmtree(tmp_path / "env", ignore_errors=True)  # several gigabytes


def check_the_core(python, refconv, folder):
    assert run(python, "-c", SCRIPT, "a.safetensors", cwd=folder).split()[-2:] == ["2", "True"]
    assert "pip install 'refconv[cli]'" in run(refconv, "--help", cwd=folder)
    said = run(python, "-m", "refconv", "plan", "resnet18", cwd=folder, status=2)
    assert said.strip() == "refconv: error: typer: not installed; pip install 'refconv[cli]'", said


def check_all(python, refconv, folder):
    run(python, "-m", "pip", "check", cwd=folder)
    version = run(python, "-c", "import refconv; print(refconv.__version__)", cwd=folder).strip()
    assert version in run(refconv, "--version", cwd=folder)
    assert "recipes/" in run(refconv, "recipes", "ls", cwd=folder)
    run(refconv, "plan", "resnet18", cwd=folder)
    run(refconv, "train", *SMALL, "--method", "refocus", "--epochs", "1", "--out", "run", cwd=folder)
    assert "top-1" in run(refconv, "eval", "run", cwd=folder)
    run(refconv, "export", "run", "-o", "net.onnx", cwd=folder)
    run(refconv, "train", *SMALL, "--checkpoint", "run", "--epochs", "1", "--out", "on", cwd=folder)
    run(refconv, "report", "on", "--weights", "--out", "page.html", cwd=folder)
    assert "<html" in (folder / "page.html").read_text(encoding="utf-8")
