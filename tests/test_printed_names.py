"""Names with escape sequences and ends of lines are written out, in all that people read."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import refconv
from refconv.cli import main
from refconv.studies import pages
from small_studies import comparison

NAME = "red\x1b[31m\nline"
SHOWN = r"red\u001b[31m\nline"
TRAIN = [
    "train", "--model", "test_printed_names:Coloured", "--img-size", "16", "--batch-size", "4", "--epochs", "1",
    "--workers", "0", "--device", "cpu", "--val-split", "0", "--no-test",
]  # fmt: skip


class Coloured(nn.Module):
    """A small classifier, two of whose layers have such names."""

    def __init__(self, num_classes=2, in_chans=3, second=6):
        super().__init__()
        layers = {"first": nn.Conv2d(in_chans, 4, 3), NAME: nn.Conv2d(4, 6, 3), f"x{NAME}": nn.Conv2d(6, second, 3)}
        self.body, self.head = nn.Sequential(OrderedDict(layers)), nn.Linear(6, num_classes)

    def forward(self, images):
        return self.head(self.body(images).mean((2, 3)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coloured")
    drawn = np.random.default_rng(0)
    data = folder / f"data {NAME}"
    for split in ("train", "val"):
        for name in (NAME, "b"):
            (data / split / name).mkdir(parents=True)
            for index in range(4):
                image = Image.fromarray(drawn.integers(0, 256, (16, 16, 3), dtype=np.uint8))
                image.save(data / split / name / f"{index} {NAME}.png")
    for run, method in (("plain", "plain"), ("refocused", "refocus")):
        assert main([*TRAIN, "--data", f"folder:{data}", "--method", method, "--out", str(folder / run)]) == 0
    return folder


def check(text, *, names=True):
    """Make sure that a text holds no escape sequence, and names on one line where it holds any."""
    assert "\x1b" not in text
    assert "\x9b" not in text
    if names:
        assert SHOWN in text
        assert "31m\n" not in text


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (["eval", "{}/refocused", "--trust", "--device", "cpu"], False),
        (["analyze", "--before", "{}/plain", "--after", "{}/refocused", "--trust", "--only", "smoothness"], True),
        (["verify", "{}/plain", "{}/refocused", "--trust"], False),
        (["plan", "test_printed_names:Coloured", "--trust"], True),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_what_commands_print_holds_no_escape_sequence(command, names, folder, capsys):
    assert main([part.format(folder) for part in command]) == 0
    said = capsys.readouterr()
    check(said.out, names=names)
    check(said.err, names=False)


def test_a_report_holds_no_escape_sequence(folder, tmp_path, capsys):
    page = tmp_path / "report.html"
    command = ["report", str(folder / "refocused"), "--before", str(folder / "plain"), "--trust", "--device", "cpu"]
    assert main([*command, "--samples", "8", "--only", "explanations", "--only", "smoothness", "--out", str(page)]) == 0
    text = page.read_bytes().decode()
    check(text, names=False)
    assert r"red\u001b[31m" in text
    check(capsys.readouterr().out, names=False)


def test_a_model_card_holds_no_escape_sequence(folder, tmp_path, capsys):
    command = ["export", str(folder / "refocused"), "--format", "hub", "--license", "mit", "--trust"]
    assert main([*command, "--out", str(tmp_path / "hub")]) == 0
    card = (tmp_path / "hub/README.md").read_bytes().decode()
    assert f"2 classes: b, {SHOWN}." in card
    check(card, names=False)
    check(capsys.readouterr().out, names=False)


def test_a_comparison_holds_no_escape_sequence(tmp_path):
    values = {("net " + NAME, name): {"top1": (0.5, 0.6), "loss": (1.0, 1.1)} for name in ("plain", NAME)}
    found = comparison(values, name=NAME)
    check(pages.table(pages.results(found)))
    page = pages.markdown(found)
    check(page, names=False)
    assert page.startswith(f"# {SHOWN}\n")
    assert f"| net {SHOWN} | {SHOWN} |" in page
    plot = tmp_path / "forest.svg"
    pages.draw(found, plot)
    check(plot.read_text(encoding="utf-8"))


def test_certificates_hold_no_escape_sequence():
    model = Coloured()
    check(str(refconv.verify(model, Coloured(second=5))))
    with torch.no_grad():
        other = Coloured()
        other.load_state_dict(model.state_dict())
        other.body[1].weight += 1
    check(str(refconv.verify(model, other)))


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: refconv.refocus(Coloured(), include=[NAME]),
        lambda: refconv.refocus(refconv.refocus(Coloured())),
        lambda: refconv.merge(Coloured()),
        lambda: refconv.verify(Coloured(), Coloured(), {NAME: torch.zeros(1)}),
    ],
    ids=["pattern", "refocused twice", "plain", "argument"],
)
def test_errors_of_layers_are_one_line_without_escape_sequences(mistake):
    with pytest.raises(refconv.RefconvError) as refused:
        mistake()
    check(str(refused.value), names=False)
    assert str(refused.value).isprintable()
