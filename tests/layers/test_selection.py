"""Choosing among layers by kinds, families, globs and regular expressions."""

import re

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind
from refconv.errors import LayerError, SettingError
from refconv.layers import find_layers, select, select_trained


def chosen(include=None, exclude=None):
    return [
        choice.layer.name for choice in select(find_layers(EveryKind()), include, exclude) if choice.skipped is None
    ]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (None, None, ["stem", "depthwise", "grouped", "up"]),
        ("depthwise", None, ["depthwise"]),
        (["dense", "transposed"], None, ["stem", "up"]),
        (None, "dense", ["depthwise", "grouped", "up"]),
        ("*", None, ["stem", "depthwise", "grouped", "up"]),
        (["*", "pointwise"], None, ["stem", "depthwise", "grouped", "pointwise", "up"]),
        (re.compile("^(stem|up)$"), None, ["stem", "up"]),
        ("re:^(stem|up)$", None, ["stem", "up"]),
        ("grouped", "up", ["grouped"]),
        ("s*", "stem", []),
        ([], None, []),
    ],
)
def test_select_chooses_what_patterns_say(include, exclude, expected):
    assert chosen(include, exclude) == expected


def test_select_takes_a_pointwise_kernel_only_when_asked():
    reasons = {choice.layer.name: choice.skipped for choice in select(find_layers(EveryKind()))}
    assert reasons["pointwise"] == "one tap"
    assert "pointwise" in chosen("pointwise")


def test_select_gives_the_reason_for_every_skip():
    reasons = {c.layer.name: c.skipped for c in select(find_layers(EveryKind()), ["dense", "grouped"], "up")}
    assert reasons == {
        "stem": None,
        "depthwise": "not included",
        "grouped": None,
        "pointwise": "one tap",
        "up": "excluded by 'up'",
    }


@pytest.mark.parametrize("where", ["include", "exclude"])
def test_select_refuses_a_pattern_without_effect(where):
    with pytest.raises(SettingError, match=f"{where}: 'stam' matches no convolution; did you mean stem"):
        chosen(**{where: "stam"})


def test_select_lets_an_excluded_kind_be_absent():
    assert "stem" in chosen(exclude="deformable")


def test_select_refuses_what_is_no_pattern():
    with pytest.raises(SettingError, match="expected a kind, a glob or a regular expression, found 3"):
        chosen(include=[3])
    with pytest.raises(SettingError, match="is no regular expression"):
        chosen(include="re:(")


def test_frozen_kernels_are_chosen_for_measuring_and_not_for_training():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    model[0].weight.requires_grad_(False)
    layers = find_layers(model)
    assert [choice.skipped for choice in select(layers)] == [None, None]
    for include in (None, ["0", "1"]):
        assert [choice.skipped for choice in select_trained(layers, include)] == ["its weight is frozen", None]
    assert [choice.skipped for choice in select_trained(layers, exclude="0")] == ["excluded by '0'", None]


@pytest.mark.parametrize("function", [refconv.refocus, refconv.param_groups])
def test_kernels_made_in_inference_mode_are_refused(function):
    with torch.inference_mode():
        model = nn.Sequential(nn.Conv2d(2, 2, 3))
    with pytest.raises(LayerError, match=r"0: the kernel was made under torch.inference_mode\(\).*; build the"):
        function(model)
