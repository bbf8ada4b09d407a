"""Files prove what they hold: whatever is changed in one is refused when it is read, or makes no difference."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import refconv
from refconv.cli import main
from refconv.digests import DIGEST, digest_of, split_digest, with_digest
from refconv.engine import Recipe, RunRecord, train
from refconv.errors import CheckpointError, RefconvWarning
from refconv.models.checkpoint import Checkpoint
from refconv.models.model_folder import load_model_folder
from refconv.models.weight_files import read_weights
from refconv.records import parsed_json

DIFFERENT = [
    None, True, 1, 1.0, "1", b"1", 0.0, -0.0, [], {}, "", [1], [[1]], [1, 1], {"1": 1}, {1: 1}, ["1", 1], "ab",
    ["ab", "c"], ["a", "bc"], {"a": "b"}, {"a": {"b": None}}, {"a": {}, "b": None}, {"b": None, "a": {}},
    torch.zeros(2), torch.zeros(2, 1), torch.zeros(1, 2), torch.zeros(2, dtype=torch.int32), torch.zeros(0),
    torch.tensor([0.0, -0.0]), torch.zeros(4, dtype=torch.bfloat16), torch.zeros(4, dtype=torch.float16),
]  # fmt: skip


def test_different_contents_have_different_digests():
    assert len({digest_of(content) for content in DIFFERENT}) == len(DIFFERENT)


def test_equal_contents_have_equal_digests():
    matrix = torch.arange(6.0).reshape(2, 3)
    assert digest_of(matrix) == digest_of(matrix.t().contiguous().t()) == digest_of(torch.nn.Parameter(matrix))
    assert digest_of((1, 2)) == digest_of([1, 2])
    assert digest_of([np.float64(0.1), np.float32(0.5)][0]) == digest_of(0.1)


@pytest.mark.parametrize(
    "value", [0.1, 1e-300, float("nan"), float("-inf"), 2**70, "ä\u2028\x1b", [{"a": [None, True]}]]
)
def test_json_keeps_digests(value):
    content = with_digest({"value": value})
    assert split_digest(json.loads(json.dumps(content)))[1] is True


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digests") / "run"
    recipe = Recipe(
        model="refconv.models.networks:mobilenet_small", model_kwargs={"width": 0.25}, data="digits", epochs=1,
        method="refocus", opt="adamw", lr=0.001,
    )  # fmt: skip
    train(recipe, folder, show=False)
    return folder


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def damaged(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << (position % 8)
    path.write_bytes(content)


def checkpoint_as_values(path):
    return digest_of({f.name: getattr(c, f.name) for c in [Checkpoint.load(path)] for f in dataclasses.fields(c)})


READERS = {
    "checkpoint.pt": checkpoint_as_values,
    "model/model.safetensors": lambda path: digest_of(
        dict(sorted(load_model_folder(path.parent).state_dict().items()))
    ),
    "model/config.json": lambda path: digest_of(dict(load_model_folder(path.parent).state_dict())),
    "record.json": lambda path: digest_of(RunRecord.read(path).to_dict()),
}


@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_anywhere_is_refused_or_makes_no_difference(name, copy):
    """Read after a flip at each of 60 places: what is read is what was written, or one line refuses it."""
    path, read = copy / name, READERS[name]
    before, content = read(path), path.read_bytes()
    refused = 0
    for position in np.linspace(0, len(content) - 1, 60).astype(int).tolist():
        path.write_bytes(content)
        damaged(path, position)
        try:
            assert read(path) == before, position
        except (CheckpointError, ValueError) as error:
            assert "\n" not in str(error)  # noqa: PT017  # either is right
            refused += 1
    assert refused > 20  # the directory and padding of an archive make no difference


def flip_a_weight(path):
    """Change one bit of one tensor, and nothing that its reader looks at beside the digest."""
    if path.suffix == ".safetensors":
        damaged(path, path.stat().st_size - 2)
        return
    content = torch.load(path, weights_only=True)
    tensor = next(value for value in content["model"].values() if value.is_floating_point())
    tensor.view(torch.int32).view(-1)[0] ^= 1
    torch.save(content, path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("checkpoint.pt", "train --resume --out run"),
        ("checkpoint.pt", "eval run/checkpoint.pt"),
        ("checkpoint.pt", "merge run/checkpoint.pt --out merged"),
        ("model/model.safetensors", "eval run"),
        ("model/model.safetensors", "predict run image.png"),
        ("model/model.safetensors", "verify run/checkpoint.pt run"),
        ("model/model.safetensors", "export run -o net.onnx"),
        ("model/model.safetensors", "train --model test_resnet --data digits --checkpoint run --out other"),
    ],
)
def test_every_command_refuses_damaged_weights(name, words, copy, capsys, monkeypatch):
    monkeypatch.chdir(copy.parent)
    Image.new("L", (8, 8)).save("image.png")
    (copy / "record.json").unlink()  # as of a run that is not at its end
    flip_a_weight(copy / name)
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert said.count("damaged or changed: its content is not what was written") == 1, said


def test_a_finished_run_whose_result_was_damaged_is_not_said_to_be_finished(copy, capsys):
    flip_a_weight(copy / "model/model.safetensors")
    assert main(["train", "--resume", "--out", str(copy)]) == 2
    said = capsys.readouterr()
    assert said.err.count("damaged or changed: its content is not what was written") == 1
    assert "finished before" not in said.out


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (999, "its step is none of this run; expected 0 to 11, found 999"),
        (-5, "damaged; found step: expected a number from 0 on, found -5"),
    ],
)
def test_a_step_that_the_run_does_not_have_is_refused_without_a_digest_too(step, words, copy, capsys):
    (copy / "record.json").unlink()
    content, _ = split_digest(torch.load(copy / "checkpoint.pt", weights_only=True))
    torch.save({**content, "step": step}, copy / "checkpoint.pt")
    assert main(["train", "--resume", "--out", str(copy)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "kept no digest" in said


@pytest.mark.parametrize("change", [Path.unlink, lambda path: damaged(path, 20)])
def test_changed_metrics_are_said(change, copy, capsys):
    (copy / "record.json").unlink()
    change(copy / "metrics.jsonl")
    assert main(["train", "--resume", "--out", str(copy)]) == 0
    assert capsys.readouterr().err.count("metrics.jsonl: was changed or removed since the checkpoint") == 1
    (copy / "record.json").unlink()
    assert main(["train", "--resume", "--out", str(copy)]) == 0


def test_files_of_earlier_versions_are_read_with_a_note(copy):
    path = copy / "checkpoint.pt"
    content, whole = split_digest(torch.load(path, weights_only=True))
    assert whole
    torch.save(content, path)
    with pytest.warns(RefconvWarning, match="kept no digest"):
        Checkpoint.load(path)


def test_weights_of_other_programs_have_no_digest_and_no_note(tmp_path):
    weights = {"a": torch.zeros(2)}
    save_file(weights, tmp_path / "a.safetensors", metadata={"format": "pt"})
    torch.save({"digest": "another thing", "state_dict": weights}, tmp_path / "a.pth")
    assert read_weights(tmp_path / "a.safetensors").keys() == read_weights(tmp_path / "a.pth").keys() == {"a"}


def test_an_adapter_is_checked(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3))
    base = {name: value.clone() for name, value in model.state_dict().items()}
    refconv.refocus(model)
    path = tmp_path / "a.safetensors"
    refconv.save_adapter(model, path)
    content = path.read_bytes()
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3))
    plain.load_state_dict(base)
    damaged(path, len(content) - 1)
    with pytest.raises(CheckpointError, match="a.safetensors: damaged or changed"):
        refconv.load_adapter(plain, path)
    path.write_bytes(content)
    refconv.load_adapter(plain, path)
    refconv.merge(plain)
    assert all(torch.equal(value, base[name]) for name, value in plain.state_dict().items())  # it was not trained


def test_layout_and_order_do_not_matter(tmp_path, copy):
    """Another program that copies tensors and metadata writes a file that is still whole."""
    path = copy / "model/model.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    save_file(dict(reversed(tensors.items())), path, metadata=dict(reversed(metadata.items())))
    load_model_folder(copy / "model")
    name = next(name for name, value in tensors.items() if value.is_floating_point())
    save_file({**tensors, name: tensors[name] + 1}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=f"if you changed it yourself, leave its {DIGEST} out"):
        load_model_folder(copy / "model")


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5_000, "\ud800", "{", "nul"])
def test_json_that_cannot_be_read_is_one_kind_of_error(text, tmp_path):
    with pytest.raises(ValueError):
        parsed_json(text)
    path = Path(tmp_path / "record.json")
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ValueError):
        RunRecord.read(path)


def test_numbers_of_numpy_and_kinds_of_texts_have_the_digest_of_before():
    for number in (np.float64(2.5), np.int64(3), np.bool_(True)):
        plain = number.item()
        same = digest_of([number]) == digest_of([plain])
        assert same == isinstance(number, (bool, int, float))  # float64 alone is a number of Python's
    assert digest_of(["a"]) != digest_of([np.str_("a")])
    assert len({digest_of([value]) for value in (1, 1.0, True, "1", None)}) == 5
