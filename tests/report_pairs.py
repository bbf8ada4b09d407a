"""Pairs with true records: two tiny classifiers, and what a run and its certificate leave behind as JSON."""

import torch
from torch import nn

from refconv.analysis.measures.outputs import agreement
from refconv.engine.run_record import RunRecord
from refconv.measures.judging import Claim, Finding
from refconv.report import ModelPair
from refconv.report.elements import Figure, Section, Table
from refconv.surgery import verify


class Answers(nn.Module):
    """A classifier that gives the classes it is told: a sample is its own place in the data."""

    def __init__(self, classes):
        super().__init__()
        self.register_buffer("answers", nn.functional.one_hot(torch.tensor(classes)).float())

    def forward(self, x):
        return self.answers[x[:, 0].long()]


def agreed(before, after, targets=None, **settings):
    """Return the record of two lists of answers, as JSON; class 0 is right unless targets say otherwise."""
    places = torch.arange(len(before))[:, None].float()
    known = [[*answers, 2] for answers in (before, after)]  # both know three classes
    classes = torch.tensor(targets) if targets else torch.zeros(len(before), dtype=torch.long)
    return agreement(Answers(known[0]), Answers(known[1]), [(places, classes)], **settings).to_dict()


def run(method="refocus", **changes):
    """Return the record of a run as JSON, with the certificate of two equal models."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    settings = {
        "model": "tests:tiny",
        "data": "fashion-mnist",
        "method": method,
        "seed": 0,
        "top1": 0.5,
        "top5": None,
        "loss": 1.0,
        "test_samples": 10000,
        "train_loss": 0.5,
        "validation": (),
        "epochs": 3,
        "steps": 1200,
        "batch_size": 64,
        "samples_seen": 76800,
        "parameters_trained": 122,
        "parameters_shipped": 122,
        "extra_parameters": 0,
        "sites": 1,
        "seconds": 95.0,
        "step_ms": 7.0,
        "processes": 1,
        "hardware": "a processor, 1 thread",
        "versions": {"torch": "2.8"},
        "command": "refconv train --model tests:tiny",
        "certificate": verify(model, model, torch.zeros(8, 3, 3, 3)),
        "space": "gradient",
    }
    return RunRecord(**{**settings, **changes}).to_dict()


def pair(name="refocus", *, records=None, before_run=None, after_run=None, **changes):
    """Return a pair with the facts that an analysis writes."""
    method = None if name.startswith("other") else name
    side = {"method": None, "space": None, "parameters": 122, "run": None}
    facts = {
        "before": {**side, "reference": "runs/base", "run": before_run, "fingerprint": "aa" * 32},
        "after": {**side, "reference": f"runs/{name}", "method": method, "run": after_run, "fingerprint": "bb" * 32},
        "model": "tests.networks:tiny",
        "task": "classification",
        "class_names": ["right", "wrong"],
        "data": {"name": "fashion-mnist", "split": "test", "max_samples": 2000, "max_seconds": None},
        "measured": {"redundancy": 1.5, "loss_line": 20.0},
        "left_out": {"curvature": "no second derivative"},
        "hardware": "a processor, 1 thread",
        "versions": {"torch": "2.8", "refconv": "0.1.0"},
        "command": f"refconv analyze --before runs/base --after runs/{name}",
    }
    return ModelPair(name, {**facts, **changes}, records or {})


def section(pairs, name="redundancy", *, change="better", support="supported", figures=(), **changes):
    """Return a section on some measure, with a claim."""
    table = Table("Redundancy per layer", ("layer", "before", "after"), (("conv", "0.5", "0.6"),))
    return Section(
        **{
            "name": name,
            "title": f"The {name} of <kernels>",
            "about": "How alike kernels are.",
            "findings": tuple(Finding(p.name, f"{p.name} moved & changed.", change) for p in pairs),
            "figures": figures or (Figure(drawing(), "Two bars, 0.5 and 0.6.", "Redundancy.", table),),
            "claim": Claim(f"Less {name}.", "RefConv", {p.name: (support, f"{p.name} is so.") for p in pairs}),
            "notes": ("All layers were used.",),
            **changes,
        }
    )


def drawing(size=0):
    """Return a small picture, or one of at least so many characters."""
    from markupsafe import Markup

    return Markup(
        f'<svg viewBox="0 0 9 9" aria-hidden="true"><rect width="9" height="9" data-tip="{"x" * size}"/></svg>'
    )
