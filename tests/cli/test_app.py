"""The entry point: help is quick, mistakes are one line, bugs are tracebacks."""

import errno
import importlib.metadata
import io
import signal
import subprocess
import sys

import pytest
import typer

from ready_processes import run_script
from refconv.cli import main
from refconv.cli.app import app
from refconv.cli.commands import COMMANDS
from refconv.cli.extras import STOPPED, not_installed
from refconv.process.interruption import SIGNALS, StoppedError

HEAVY = ("torch", "timm", "torchvision", "numpy", "safetensors", "sklearn")


def run(*arguments, **settings):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False, **settings
    )


def loaded_by(*lines):
    """Return the names of the modules that a process has loaded after these lines."""
    done = run("-c", "\n".join(("import sys", *lines, "print(*sys.modules)")))
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_nothing_heavy():
    commands = [[], ["plan"], ["train"], ["eval"], ["merge"], ["export"], ["verify"], ["demo"], ["recipes"]]
    loaded = loaded_by(
        "from refconv.cli import main", *(f"assert main({[*command, '--help']!r}) == 0" for command in commands)
    )
    assert {"refconv.cli.training", "refconv.cli.models"} <= loaded
    assert not loaded & {*HEAVY, "pydantic"}


def test_help_of_all_commands_loads_none_of_them():
    loaded = {name for name in loaded_by("from refconv.cli import main", "main(['--help'])") if "refconv" in name}
    assert loaded == {
        "refconv", "refconv.errors", "refconv.process", "refconv.process.interruption", "refconv.process.shortage",
        "refconv.process.volume",
        "refconv.cli", "refconv.cli.absent", "refconv.cli.app", "refconv.cli.arguments", "refconv.cli.commands",
        "refconv.cli.extras", "refconv.cli.saying",
    }  # fmt: skip


def test_help_of_a_command_loads_the_module_of_that_command_alone():
    loaded = loaded_by("from refconv.cli import main", "main(['bench', '--help'])")
    assert "refconv.cli.exporting" in loaded
    assert not loaded & {f"refconv.cli.{name}" for name in ("training", "models", "measuring", "recipes")}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_all_commands_has_the_first_line_of_each(name):
    assert typer.main.get_command(app).commands[name].help.splitlines()[0] == COMMANDS[name]


def test_help_loads_no_more_than_help_of_a_bare_program_of_the_same_library():
    bare = "import typer\napp = typer.Typer()\napp.command()(lambda: None)\napp(['--help'], standalone_mode=False)\n"
    loaded = []
    for code in (bare, "from refconv.cli import main\nmain(['--help'])\n"):
        roots = "{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)"
        done = run("-c", f"import sys\nbefore = set(sys.modules)\n{code}print(*{roots})")
        loaded.append(set(done.stdout.splitlines()[-1].split()))
    assert "typer" in loaded[0]
    assert "refconv" in loaded[1]
    assert loaded[1] - {"refconv"} <= loaded[0]


def test_help_shows_every_command_and_no_python(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("plan", "train", "eval", "predict", "merge", "verify", "demo"))
    for name in ("plan", "train", "eval", "predict", "merge", "verify", "demo"):
        assert main([name, "--help"]) == 0
        assert "Raises" not in capsys.readouterr().out


def test_version_is_the_installed_one(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"refconv {importlib.metadata.version('refconv')}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "--modle", "x"], "--modle: unknown flag; did you mean --model"),
        (["train", "--epoch", "3", "-o", "x"], "--epoch: unknown flag; did you mean --epoch-steps or --epochs"),
        (["train", "--no-ampp", "-o", "x"], "--no-ampp: unknown flag; did you mean --no-amp"),
        (["train", "r.toml", "-o", "x"], "r.toml: unexpected argument; give a recipe as --recipe r.toml"),
        (["train", "resnet18", "-o", "x"], "resnet18: unexpected argument; refconv train --help shows what it takes"),
        (["compare", "a.toml", "b.toml"], "b.toml: unexpected argument; refconv compare --help shows what it takes"),
        (["train", "--tta", "3"], "--tta: unknown flag; each image is evaluated once"),
        (["improve", "--aug-splits", "3"], "--aug-splits: unknown flag; bring it in datasets of your own"),
        (["train", "--image-size", "3"], "--image-size: unknown flag; did you mean --img-size?"),
        (["train", "-o", "x", "--experiment", "y"], "--out: given twice; found --out and --experiment"),
        (["train", "-o", "x", "--resume", "c.pt"], "--resume: not a way to resume; expected auto, found 'c.pt'; write"),
        (["train", "-o", "x", "--resume", "--dry-run"], "--dry-run: cannot be combined with --resume"),
        (["plan", "resnet18", "-q", "-v"], "--quiet: cannot be combined with --verbose"),
        (["report", "a", "--nosuch"], "--nosuch: unknown flag; refconv report --help lists them"),
        (["report", "a", "--onyl", "b"], "--onyl: unknown flag; did you mean --only?"),
        (["verify", "a", "b", "--qqqqqq"], "--qqqqqq: unknown flag; refconv verify --help lists them"),
        (["plann"], "plann"),
        (["plan"], "--model: missing"),
        (["plan", "--model"], "--model"),
        (["train"], "--out: missing; expected the folder to write"),
        (["train", "-o", "x", "--model", "test_resnet"], "--data: missing"),
        (["train", "-o", "x", "--data", "digits"], "--model: missing"),
        (["train", "-o", "x", "--recipe", "no/such.toml"], "no/such.toml: cannot read the recipe"),
        (["plan", "--model", "test_resnte"], "test_resnte: unknown model"),
        (["plan", "--model", "test_resnet", "--order", "acros"], "order: unknown word"),
        (["plan", "--model", "test_resnet", "--num-classes", "ten"], "num_classes: wrong type"),
        (["plan", "--model", "test_resnet", "--model-kwargs", "width"], "--model-kwargs: not an entry of a table"),
        (["eval", "runs/nowhere"], "runs/nowhere: no such run"),
        (["eval", "nowhere"], "nowhere: no such file or folder, and unknown model; expected a run"),
        (["eval", "test_resnet", "--split", "tset", "--data", "digits"], "--split: unknown split"),
        (["merge", "runs/nowhere", "-o", "x"], "runs/nowhere: no such"),
        (["verify", "runs/a", "runs/b"], "runs/a: no such run"),
    ],
)
def test_main_says_a_mistake_in_one_line(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("refconv: error: ")
    assert words in captured.err
    assert not list(tmp_path.iterdir())


def test_main_shows_a_bug_whole(tmp_path):  # in a command that needs no torch
    (tmp_path / "pair.json").write_text("{}")

    code = (
        "import sys, refconv.report\nfrom refconv.cli import main\n"
        "def write(*a, **k): return 1 / 0\n"
        "refconv.report.read_pair = write\n"
        f"sys.exit(main(['report', {str(tmp_path)!r}, '-o', {str(tmp_path / 'page.html')!r}]))"
    )
    done = run("-c", code)
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "line 3" in done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyboardInterrupt(), "refconv: stopped; files are whole, and the same command starts again\n"),
        (StoppedError("stopped; resume so"), "refconv: stopped; resume so\n"),
    ],
)
def test_main_ends_with_130_when_interrupted(monkeypatch, capsys, error, words):
    def interrupted(*arguments, **settings):
        raise error

    monkeypatch.setattr("refconv.surgery.plan_of", interrupted)
    assert main(["plan", "--model", "test_resnet"]) == 130
    assert capsys.readouterr().err == words


@pytest.mark.parametrize("number", SIGNALS)
def test_commands_that_do_not_hear_signals_themselves_end_at_each_of_them_with_a_line(monkeypatch, capsys, number):
    """While the packages are imported, too."""
    monkeypatch.setattr("refconv.process.interruption._asked", [])
    monkeypatch.setattr("refconv.surgery.plan_of", lambda *_, **__: signal.raise_signal(number))
    assert main(["plan", "--model", "test_resnet"]) == 128 + number
    assert capsys.readouterr().err == f"{STOPPED}\n"

    monkeypatch.delitem(sys.modules, "refconv.cli.app")
    monkeypatch.delattr("refconv.cli.app")
    monkeypatch.setattr("refconv.process.interruption._asked", [])
    monkeypatch.setattr(sys, "meta_path", [Signals(number), *sys.meta_path])
    assert main(["plan", "--model", "test_resnet"]) == 128 + number
    assert capsys.readouterr().err == f"{STOPPED}\n"


class Signals:
    """A finder of modules during whose search a signal comes."""

    def __init__(self, number):
        self.number = number

    def find_spec(self, name, path, target=None):
        if name == "refconv.cli.app":
            signal.raise_signal(self.number)


def test_a_closed_terminal_does_not_change_the_status(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("refconv.process.interruption._asked", [])
    monkeypatch.setattr("refconv.surgery.plan_of", lambda *_, **__: signal.raise_signal(signal.SIGHUP))
    monkeypatch.setattr(sys, "stderr", Closed())
    assert main(["plan", "--model", "test_resnet"]) == 129


def test_app_lists_the_commands_of_the_readme():
    assert list(typer.main.get_command(app).commands) == [
        "improve", "plan", "train", "eval", "predict", "merge", "adopt", "verify", "export", "bench", "compare",
        "analyze", "report", "demo", "data", "recipes",
    ]  # fmt: skip


def hidden(names, *arguments):
    """Run a command where packages are missing."""
    code = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {names!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        f"for name in [name for name in sys.modules if name.partition('.')[0] in {names!r}]:\n"
        "    del sys.modules[name]\n"
        f"from refconv.cli import main\nsys.exit(main({list(arguments)!r}))\n"
    )
    return run_script(code, without_refconv=True)


@pytest.mark.parametrize(
    ("names", "arguments", "words"),
    [
        (("typer",), ["plan", "resnet18"], "refconv: error: typer: not installed; pip install 'refconv[cli]'\n"),
        (("timm",), ["plan", "resnet18"], "refconv: error: timm: not installed; pip install 'refconv[train]'\n"),
    ],
)
def test_without_an_extra_one_line_names_it(names, arguments, words):
    done = hidden(names, *arguments)
    assert (done.returncode, done.stderr) == (2, words)


def test_help_needs_no_extra():
    done = hidden(("typer", "timm", "torchvision", "rich", "numpy"), "--help")
    assert done.returncode == 0
    assert "refconv[cli]" in done.stdout


def test_another_missing_module_is_a_bug(monkeypatch):
    assert not_installed(ModuleNotFoundError(name="nosuchmodule")) is None
    assert not_installed(ModuleNotFoundError(name="sklearn")).where == "scikit-learn"
    assert not_installed(ModuleNotFoundError(name="segmentation_models_pytorch")).remedy.endswith("'refconv[tasks]'")


def test_python_dash_m_refconv_is_the_command():
    assert run("-m", "refconv", "--version").stdout == f"refconv {importlib.metadata.version('refconv')}\n"


def test_a_variable_gives_the_default_of_a_flag(monkeypatch, capsys):
    monkeypatch.setenv("REFCONV_PLAN_BUDGET", "3000")
    assert main(["plan", "resnet18"]) == 0
    assert "against the budget" in capsys.readouterr().out


def test_a_variable_that_gives_no_flag_is_named(monkeypatch, capsys):
    monkeypatch.setenv("REFCONV_PLAN_BUDGETS", "3000")
    assert main(["plan", "resnet18"]) == 0
    line = "refconv: warning: REFCONV_PLAN_BUDGETS: gives no flag; did you mean BUDGET?"
    assert capsys.readouterr().err.splitlines()[0] == line
