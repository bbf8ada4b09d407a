"""Reading weights runs no code, and loading them is all or nothing."""

import math
import os
import pickle
import random
import re
import zipfile
from collections import OrderedDict

import pytest
import safetensors.torch
import torch
from timm.models import adapt_input_conv
from torch import nn

from refconv.errors import CheckpointError, ModelError, RefconvWarning
from refconv.models.creation import create_model
from refconv.models.weight_files import read_weights
from refconv.models.weights import classifier_names, load_state, with_channels


def small_net(classes: int = 4, width: int = 6) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width * 4, classes))


class WouldTouch:
    """A pickle of this creates a file when it is loaded carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def state():
    return small_net().state_dict()


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(
    "wrapping", ["state_dict", "state_dict_ema", "model", "model_state_dict", "net", "params_ema", "ema_state_dict"]
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_read_weights_unwraps_training_checkpoints(tmp_path, state, wrapping, prefix):
    torch.save({"epoch": 3, wrapping: {prefix + name: value for name, value in state.items()}}, tmp_path / "a.pth")
    assert_same(read_weights(tmp_path / "a.pth"), state)


def test_read_weights_prefers_averaged_weights(tmp_path, state):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "state_dict_ema": state}, tmp_path / "a.pth")
    with pytest.warns(UserWarning, match="several sets of weights; state_dict_ema is taken, not state_dict"):
        assert_same(read_weights(tmp_path / "a.pth"), state)


def test_read_weights_reads_safetensors_files_and_folders(tmp_path, state):
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    assert_same(read_weights(tmp_path / "model.safetensors"), state)
    assert_same(read_weights(str(tmp_path)), state)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_read_weights_refuses_code(tmp_path, state, zipped, inside):
    trap = WouldTouch(tmp_path / "trap")
    content = {"state_dict": state, "extra": trap} if inside else trap
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"evil\.pth: refused, because reading it would run code.*mkdir"):
        read_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_read_weights_refuses_bare_pickles(tmp_path, protocol):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(WouldTouch(tmp_path / "trap"), protocol=protocol))
    with pytest.raises(CheckpointError, match="evil"):
        read_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "trap").exists()


def test_read_weights_refuses_whole_models(tmp_path):
    torch.save(small_net(), tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match=r"would run code.*torch\.nn.*state dict"):
        read_weights(tmp_path / "whole.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_read_weights_names_a_file_damaged_anywhere(tmp_path, zipped):
    whole, broken = tmp_path / "whole.pth", tmp_path / "broken.pth"
    torch.save({"a": torch.arange(8.0)}, whole, _use_new_zipfile_serialization=zipped)
    content = whole.read_bytes()
    dice = random.Random(0)
    refused = 0
    for _ in range(150):
        broken.write_bytes(content[: dice.randrange(len(content))])
        with pytest.raises(CheckpointError, match=r"broken\.pth"):
            read_weights(broken)
        scratched = bytearray(content)
        for _ in range(3):
            scratched[dice.randrange(len(content))] = dice.randrange(256)
        broken.write_bytes(scratched)
        try:
            read_weights(broken)
        except CheckpointError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.safetensors"])
def test_a_file_that_is_cut_short_is_said_in_plain_words(tmp_path, state, name):
    path = tmp_path / name
    save = safetensors.torch.save_file if path.suffix == ".safetensors" else torch.save
    save(state, path)
    content = path.read_bytes()
    words = (
        "damaged, not whole, or not" if path.suffix == ".safetensors" else "the file is not whole, its end is missing"
    )
    for length in (0, 100, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError) as caught:
            read_weights(path)
        (line,) = str(caught.value).splitlines()
        assert f", found {length:,} bytes; copy or download the file again; a run whose only checkpoint" in line
        assert not length or words in line
        assert not re.search("error|archive|header|miniz|central", line.removeprefix(str(path)), re.IGNORECASE)


def test_a_program_of_torchscript_is_no_file_of_weights(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt", "a") as archive:
        archive.writestr("a/constants.pkl", b"")  # by which torch knows them
    with pytest.raises(CheckpointError, match=r"a program of TorchScript, no file of weights; save its state dict"):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pth", b"", "damaged"),
        ("a.pth", b"hello, world", "damaged"),
        ("a.pth", b"PK\x03\x04 no archive", "damaged"),
        ("a.safetensors", b"hello, world", "safetensors"),
        ("a.safetensors", b"", "safetensors"),
    ],
)
def test_read_weights_names_foreign_files(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / name)) + f".*{words}"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "words"),
    [([1, 2], "list"), ({"a": torch.zeros(1), "epoch": 3}, "epoch"), ({}, "nothing"), (torch.zeros(2), "Tensor")],
)
def test_read_weights_says_what_is_no_state_dict(tmp_path, content, words):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=f"not a file of weights.*{words}"):
        read_weights(tmp_path / "a.pth")


def test_read_weights_names_what_is_missing(tmp_path):
    with pytest.raises(CheckpointError, match="no such file or folder"):
        read_weights(tmp_path / "nowhere.pth")
    with pytest.raises(CheckpointError, match=r"no weights in this folder.*model\.safetensors"):
        read_weights(tmp_path)


def test_load_state_fills_the_model():
    before, after = small_net(), small_net()
    assert load_state(after, before.state_dict(), where="x") == ()
    assert_same(after.state_dict(), before.state_dict())


def test_load_state_lists_what_does_not_fit_and_changes_nothing(state):
    model = small_net()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    wrong = {("other" if name == "0.bias" else name): value for name, value in state.items()}
    with pytest.raises(CheckpointError, match=r"file\.pth: .*1 missing \(0\.bias\), 1 surplus \(other\)"):
        load_state(model, wrong, where="file.pth")
    assert_same(model.state_dict(), kept)


def test_load_state_names_another_architecture():
    with pytest.raises(CheckpointError, match=r"0\.weight is \[8, 1, 3, 3\] instead of \[6, 1, 3, 3\]"):
        load_state(small_net(), small_net(width=8).state_dict(), where="x")


def test_what_is_missing_is_named_without_counters_of_batch_norm():
    model = create_model("test_resnet")
    state = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    absent = next(name for name in state if name.endswith("bn2.weight"))
    del state[absent]
    with pytest.raises(CheckpointError, match=rf"found 1 missing \({absent}\)"):
        load_state(model, state, where="file")


def test_load_state_says_both_numbers_of_classes():
    with pytest.raises(CheckpointError, match=r"expected 4 classes, found 7 classes.*--reset-classifier"):
        load_state(small_net(), small_net(7).state_dict(), where="x")


@pytest.mark.parametrize("classes", [4, 7])
def test_load_state_resets_only_the_classifier(classes):
    model, other = small_net(), small_net(classes)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    assert load_state(model, other.state_dict(), where="x", reset_classifier=True) == ("3.weight", "3.bias")
    for name, value in model.state_dict().items():
        if name.startswith("3."):  # drawn anew, as torch draws it
            assert not torch.equal(value, kept[name])
            assert float(value.abs().max()) <= 1 / math.sqrt(kept["3.weight"].shape[1])
        else:
            assert torch.equal(value, other.state_dict()[name]), name


def test_classifier_names_asks_the_model_first():
    class Asked(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.last = nn.Linear(2, 2), nn.Linear(2, 2)

        def get_classifier(self):
            return self.head

    assert classifier_names(Asked()) == {"head.weight", "head.bias"}
    assert classifier_names(small_net()) == {"3.weight", "3.bias"}


def test_classifier_names_says_when_there_is_none():
    with pytest.raises(ModelError, match="no classifier found"):
        classifier_names(nn.Conv2d(1, 1, 1))


def test_read_weights_finds_nested_sets_and_leaves_alone_what_holds_none(tmp_path, state):
    torch.save({"ema": {"decay": 0.9, "updates": 3}, "model": {"module": state, "step": 1}}, tmp_path / "a.pth")
    assert_same(read_weights(tmp_path / "a.pth"), state)


def test_read_weights_undoes_what_wrappers_do_to_names(tmp_path, state):
    inner = {
        name.replace("0.", "0._orig_mod.").replace("1.", "1._checkpoint_wrapped_module."): state[name] for name in state
    }
    torch.save(inner, tmp_path / "a.pth")
    assert_same(read_weights(tmp_path / "a.pth"), state)
    averaged = torch.optim.swa_utils.AveragedModel(small_net())
    averaged.module.load_state_dict(state)
    torch.save(averaged.state_dict(), tmp_path / "a.pth")
    assert_same(read_weights(tmp_path / "a.pth"), state)


class Versioned(nn.Module):
    """Takes states of its own version only, as torchvision's MNASNet does."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

    def _load_from_state_dict(self, state, prefix, local_metadata, *rest):
        if local_metadata.get("version") != 2:
            raise ValueError(f"version should be 2 instead of {local_metadata.get('version')}")
        super()._load_from_state_dict(state, prefix, local_metadata, *rest)


@pytest.mark.parametrize("form", ["pth", "prefixed", "safetensors"])
def test_versions_of_modules_survive_reading(tmp_path, form):
    model, path = Versioned(), tmp_path / f"a.{'safetensors' if form == 'safetensors' else 'pth'}"
    if form == "safetensors":
        safetensors.torch.save_file(model.state_dict(), path)
    else:
        torch.save(nn.DataParallel(model).state_dict() if form == "prefixed" else model.state_dict(), path)
    other = Versioned()
    load_state(other, read_weights(path), where="x")
    assert_same(other.state_dict(), model.state_dict())


@pytest.mark.parametrize("reset", [False, True])
def test_load_state_takes_weights_from_before_batch_norms_counted(state, reset):
    old = {name: value for name, value in state.items() if "num_batches_tracked" not in name}
    model = small_net()
    load_state(model, old, where="x", reset_classifier=reset)
    assert torch.equal(model[1].weight, state["1.weight"])
    assert model[1].num_batches_tracked == 0
    del old["1.bias"]
    with pytest.raises(CheckpointError, match=r"missing \(1\.bias"):
        load_state(model, old, where="x", reset_classifier=reset)


def test_load_state_takes_the_old_names_of_densenets():
    model = nn.ModuleDict({"denselayer1": nn.ModuleDict({"norm1": nn.BatchNorm2d(2), "conv1": nn.Conv2d(2, 2, 1)})})
    old = {re.sub(r"(norm|conv)1", r"\1.1", name): value + 1 for name, value in model.state_dict().items()}
    load_state(model, old, where="x")
    assert torch.equal(model["denselayer1"]["norm1"].bias, torch.ones(2))


@pytest.mark.parametrize("prefix", ["model.", "net.", "learner.network."])
def test_load_state_aligns_the_names_of_a_trainer_that_holds_the_model(state, prefix):
    model = small_net()
    load_state(model, {prefix + name: value for name, value in state.items()}, where="x")
    assert_same(model.state_dict(), state)
    inside = nn.ModuleDict({"model": small_net()})  # a model whose own names begin so
    load_state(inside, {f"model.{name}": value for name, value in state.items()}, where="x")
    assert_same(inside["model"].state_dict(), state)


@pytest.mark.parametrize(("name", "value"), [
    ("0.weight", math.inf), ("3.bias", math.nan), ("1.running_var", math.nan), ("1.running_mean", -math.inf),
])  # fmt: skip
def test_weights_that_are_not_finite_are_refused_by_name(state, name, value):
    model = small_net()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state[name].view(-1)[0] = value
    with pytest.raises(CheckpointError, match=rf"a\.pth: the weights are not finite; .* 1 of 9 entries \({name}\)"):
        load_state(model, state, where="a.pth")
    assert_same(model.state_dict(), before)


def test_a_buffer_may_hold_infinity_as_masks_do(state):
    model = small_net()
    model.register_buffer("mask", torch.zeros(2))
    load_state(model, {**state, "mask": torch.tensor([0.0, -math.inf])}, where="a.pth")
    assert model.mask.tolist() == [0.0, -math.inf]


@pytest.mark.parametrize(("before", "after"), [(3, 1), (3, 4), (3, 7)])
def test_stems_of_other_channels_are_made_as_timm_makes_them(before, after):
    kernel = torch.randn(5, before, 3, 3)
    torch.testing.assert_close(with_channels(kernel, after), adapt_input_conv(after, kernel))


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3), (4, 3)])
def test_a_stem_gives_on_equal_channels_what_it_gave(before, after):
    kernel, grey = torch.randn(5, before, 3, 3, dtype=torch.float64), torch.randn(2, 1, 8, 8, dtype=torch.float64)
    if before == 4:
        kernel[:, 3] = kernel[:, :3].mean(1)
    first = torch.nn.functional.conv2d(grey.expand(-1, before, -1, -1), kernel)
    second = torch.nn.functional.conv2d(grey.expand(-1, after, -1, -1), with_channels(kernel, after))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("channels", [1, 4])
def test_training_starts_from_weights_of_other_channels_and_says_so(channels):
    given = create_model("test_resnet", in_chans=3)
    model = create_model("test_resnet", in_chans=channels)
    with pytest.warns(RefconvWarning, match=rf"a.pth: conv1.0.weight takes 3 channels, the model {channels}"):
        load_state(model, given.state_dict(), where="a.pth", fit_channels=True)
    assert torch.equal(model.fc.weight, given.fc.weight)
    expected = with_channels(given.conv1[0].weight, channels)
    assert torch.equal(model.conv1[0].weight, expected)
    # Elsewhere, as in evaluation, weights must fit.
    with pytest.raises(CheckpointError, match="does not fit this model"):
        load_state(model, given.state_dict(), where="a.pth")


def test_another_kernel_than_the_first_is_never_made_to_fit():
    given, model = create_model("test_resnet", in_chans=3).state_dict(), create_model("test_resnet", in_chans=1)
    given["layer1.0.conv1.weight"] = given["layer1.0.conv1.weight"][:, :3]
    with pytest.warns(RefconvWarning), pytest.raises(CheckpointError, match="1 of another shape"):
        load_state(model, given, where="a.pth", fit_channels=True)


@pytest.mark.parametrize(
    ("given", "own", "words"),
    [
        ({"0": "conv", "1": "norm", "3": "head"}, "", "(conv.weight -> 0.weight, ...)"),
        (
            {"0": "enc.0", "1": "enc.1", "3": "enc.3"},
            "net",
            "(enc.0.weight -> net.0.weight; all begin with enc., the mo",
        ),
        (
            {"0": "0", "1": "1", "3": "3"},
            "net",
            "(0.weight -> net.0.weight; all begin without prefix, the model's with",
        ),
    ],
    ids=["each", "prefix", "none"],
)
def test_weights_of_the_same_shapes_in_order_are_refused_with_the_renaming(state, given, own, words):
    model = nn.Sequential(OrderedDict({own: small_net()})) if own else small_net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    renamed = {f"{given[name[0]]}{name[1:]}": value for name, value in state.items()}
    words = "shapes are the same in the same order, so names alone may differ: rename the keys " + words
    with pytest.raises(CheckpointError, match=re.escape(words)):
        load_state(model, renamed, where="a.pth")
    assert_same(model.state_dict(), before)
    old = {name: value for name, value in renamed.items() if "num_batches" not in name}
    with pytest.raises(CheckpointError, match=re.escape(words)):
        load_state(model, old, where="a.pth")
    other = {name: value[:1] if value.ndim else value for name, value in renamed.items()}
    with pytest.raises(CheckpointError, match=r"surplus \([^)]*\); give the model"):
        load_state(model, other, where="a.pth")


def test_another_network_is_not_said_to_have_other_classes():
    """Its layers of the same name differ as a classifier would, beside all that is missing."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2))
    state = {"1.weight": torch.ones(16), "1.bias": torch.ones(16), "stem.weight": torch.ones(1)}
    with pytest.raises(CheckpointError, match=r"missing.*surplus") as caught:
        load_state(model, state, where="a.pth")
    assert "classes" not in str(caught.value)
