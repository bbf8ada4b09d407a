"""Code that files name is imported only if the user named or trusts it."""

import json
import pickle
import sys

import pytest
from PIL import Image

import refconv
from refconv.cli import main
from refconv.data import opening
from refconv.engine import Recipe, train
from refconv.errors import RunError, SettingError, TrustError
from refconv.models import builders
from refconv.models.model_folder import load_model_folder
from refconv.models.run_folder import writing
from refconv.named_code import SOURCES, check_trusted, inherit, names_code, running, trusting
from refconv.recipe.code import code_of
from refconv.studies.remote import Errand

NETS = """
import pathlib
import torch
pathlib.Path(__file__).with_name("imported").touch()
def small(num_classes=10, in_chans=1):
    pooled = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    return torch.nn.Sequential(torch.nn.Conv2d(in_chans, 4, 3), *pooled, torch.nn.Linear(4, num_classes))
def loss(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a run that names a module, as somebody else's: it was not imported here."""
    (tmp_path / "strange_nets.py").write_text(NETS)
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the current folder is added for good
    with trusting(False):
        recipe = Recipe(
            model="strange_nets:small", data="digits", loss="strange_nets:loss", method="refocus", opt="adamw", epochs=1
        )
        train(recipe, tmp_path / "run", show=False)
    (tmp_path / "imported").unlink()
    sys.modules.pop("strange_nets")
    yield tmp_path / "run"
    sys.modules.pop("strange_nets", None)


@pytest.mark.parametrize(
    "words",
    [
        "train --resume --out run",
        "train --model resnet18 --data digits --checkpoint run --out other",
        "eval run",
        "eval run/checkpoint.pt",
        "eval run/model --data digits",
        "eval local-dir:run/model --data digits",
        "predict run image.png",
        "merge run/checkpoint.pt --out other",
        "verify run run",
        "analyze --before run --after run",
        "report run",
        "export run -o net.onnx",
        "bench --before run --after run",
        "improve --model resnet18 --data digits --checkpoint run --budget 1ep --out other",
    ],
)
def test_no_command_imports_what_a_run_names(run, words, capsys):
    status = main(words.split())
    said = capsys.readouterr().err
    assert not (run.parent / "imported").exists()
    assert status == 2
    assert "refused, because it would run code that you have not named" in said
    assert "strange_nets:small" in said
    assert "--trust" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("words", ["eval run", "eval run/checkpoint.pt", "verify run run"])
def test_with_trust_they_do_and_only_that_once(run, words, capsys):
    assert main([*words.split(), "--trust"]) == 0
    assert (run.parent / "imported").exists()
    assert main(words.split()) == 2


def test_what_is_named_in_place_of_the_run_is_followed(run, capsys):
    record = run / "record.json"
    record.unlink()  # so that the end of the run is made again
    named = ["--model", "strange_nets:small", "--loss", "strange_nets:loss"]
    assert main(["train", "--resume", "--out", str(run), *named]) == 0
    assert record.is_file()


def test_the_run_of_a_stranger_chooses_no_data(run, capsys):
    """``subprocess:getoutput`` as data was called on resuming."""
    recipe = run / "recipe.toml"
    lines = [line for line in recipe.read_text().splitlines() if not line.startswith(("data =", "model =", "loss ="))]
    recipe.write_text('data = "subprocess:getoutput"\nmodel = "resnet18"\n' + "\n".join(lines))
    assert main(["train", "--resume", "--out", str(run)]) == 2
    assert "found subprocess:getoutput" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["os:mkdir", "antigravity:x", "unittest.__main__:main", "refconv.cli:main"])
def test_a_model_folder_chooses_no_function(name, tmp_path):
    loaded = set(sys.modules)
    config = {"architecture": name, "num_classes": None, "model_args": {"path": str(tmp_path / "trap")}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(TrustError, match=rf"found {name}; if you know who wrote it: --trust, or"):
        load_model_folder(tmp_path)
    assert not (tmp_path / "trap").exists()
    assert name.partition(":")[0] not in set(sys.modules) - loaded


def test_trust_is_given_to_functions_modules_and_packages():
    with pytest.raises(TrustError, match=r"found a.b:c, d:e; .*refconv.trust\('a.b, d'\)"):
        check_trusted(["a.b:c", "resnet18", None, "d:e"], where="run")
    for named in ("a.b:c", "a.b", "a"):
        with trusting(False):
            refconv.trust(named)
            check_trusted(["a.b:c"], where="run")
            with pytest.raises(TrustError):
                check_trusted(["ab:c"], where="run")
    with trusting(True):
        check_trusted(["a.b:c"], where="run")


def test_every_source_of_models_and_data_is_known_to_name_no_code():
    sources = {*builders.TIMM_SOURCES, *builders.TASK_SOURCES, "torchvision", *opening.OF_OTHER_TASKS}
    sources |= {*opening._ON_A_DISK, "table", "arrays"}
    assert sources == SOURCES
    assert not [name for source in sources if names_code(name := f"{source}:name")]


@pytest.mark.parametrize("name", [5, "", "my nets", ":", "nets.py:", "my_nets:"])
def test_trust_refuses_what_names_no_code(name):
    with trusting(False):
        with pytest.raises(SettingError, match=r"trust: not a name of code; expected a module such as my_nets"):
            refconv.trust("known", name)
        with pytest.raises(TrustError):
            check_trusted(["known:c"], where="run")


def test_the_networks_of_the_package_need_no_trust():
    assert not names_code("refconv.models.networks:mobilenet_small")
    assert not names_code("refconv.training.networks:resnet_small")
    assert names_code("refconv.models.networks:torch.hub.load")


def test_all_settings_that_may_name_code_are_looked_at():
    named = {"model": "m:f", "data": "d:f", "loss": "l:f", "method": "t:C", "distill": "s:f"}
    assert code_of(Recipe(**named)) == list(named.values())
    fields = {name for name, field in Recipe.__dataclass_fields__.items() if "module:" in field.metadata["help"]}
    assert fields == set(named)


def test_runs_elsewhere_trust_what_the_command_trusts():
    """A run of a study is given to another process or machine with the names that are trusted here."""
    with trusting(False):
        refconv.trust("my_nets")
        errand = pickle.dumps(Errand(None, "all", 1, "7"))
    with pytest.raises(TrustError, match="my_nets:small"):
        check_trusted(["my_nets:small"], where="a run")
    inherit(pickle.loads(errand).trusted)
    check_trusted(["my_nets:small"], where="a run")
    with pytest.raises(TrustError, match="others:small"):
        check_trusted(["others:small"], where="a run")


@pytest.mark.parametrize(("named", "flags"), [((), "--resume$"), (("my_nets:small",), "--resume --trust$")])
def test_a_hint_to_resume_names_trust_where_code_was_named(named, flags, tmp_path):
    def fails():
        with running(named), writing(tmp_path):
            raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=flags):
        fails()
