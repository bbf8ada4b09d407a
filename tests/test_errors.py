"""Remedies of errors."""

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

import refconv
from refconv.errors import CheckpointError, RefconvError, did_you_mean, in_one_line, printable


def test_did_you_mean_names_close_words_only():
    assert did_you_mean("cosin", ["cosine", "step"]) == "did you mean cosine?"
    lites = ["efficientnet_lite4", "efficientnet_lite10", "efficientnet_lite0", "tf_efficientnet_lite0"]
    expected = "did you mean efficientnet_lite0 or efficientnet_lite4 or efficientnet_lite10?"
    assert did_you_mean("efficientnet_lite", lites) == expected
    assert did_you_mean("xyz", ["cosine", "step"]) is None
    assert did_you_mean("--nosuch", ["--out", "--amp"]) is None  # what they share are the dashes


def test_names_reach_a_terminal_as_text_and_json_stays_json():
    hostile = [*map(chr, range(0x20)), "\x7f", "\x80", "\x9b", "\u202e", "\u2066", "\U000e0001"]
    for one in hostile:
        shown = printable(f"cat{one}")
        assert shown.isprintable()
        assert shown.isascii()
        assert json.loads(f'"{shown}"') == f"cat{one}"
    assert printable("cat\u00a0\u732b e\u0301") == "cat\u00a0\u732b e\u0301"
    assert str(RefconvError("a\nb", where="x\x1b[31m")) == "x\\u001b[31m: a b"


def test_no_command_prints_by_itself():
    """They say, which names control characters."""
    files = Path(__file__).parents[1].glob("src/refconv/cli/*.py")
    assert [file.name for file in files if "typer.echo(" in file.read_text(encoding="utf-8")] == ["saying.py"]


def test_a_printed_plan_shows_names_of_layers_written_out():
    model = torch.nn.Sequential(OrderedDict([("red\x1b[31m\nline", torch.nn.Conv2d(3, 4, 3))]))
    _heads, row, *rest = str(refconv.plan(model)).splitlines()
    assert row.startswith("red\\u001b[31m\\nline")
    assert len(rest) == 1


def _read(error):
    with in_one_line(CheckpointError, "damaged", where="a.pt", expected="a whole file", remedy="copy the file again"):
        raise error


@pytest.mark.parametrize("error", [MemoryError("no"), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_file_that_memory_is_too_small_for_is_not_called_damaged(error):
    words = r"^a\.pt: out of memory; found .*; free memory; if there is enough, copy the file again$"
    with pytest.raises(CheckpointError, match=words):
        _read(error)
    with pytest.raises(CheckpointError, match="^a.pt: damaged; expected a whole file, found nothing there; copy"):
        _read(ValueError("nothing there"))
