"""Two real pairs of models with one start and the records of all measures, as the files of an analysis hold them."""

import copy
import json

import pytest
import torch
from torch import nn

import refconv
from refconv.analysis.registry import DATA_MEASURES, WEIGHT_MEASURES, EvalData
from refconv.measures.pairs import ModelPair

CLASSES = 4
MEAN, STD = 0.5, 0.25


class Tiny(nn.Module):
    """A dense, two depthwise and a grouped convolution."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.wide = nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.wide(torch.relu(self.depthwise(x))))
        return self.head(torch.relu(self.grouped(x)).mean((2, 3)))


def samples(seed, count=16):
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(count) % CLASSES
    pixels = 0.7 * torch.rand(count, 3, 8, 8, generator=generator)
    pixels[torch.arange(count), classes % 3] += 0.3  # something to learn
    images = (pixels - MEAN) / STD
    return [(images[: count // 2], classes[: count // 2]), (images[count // 2 :], classes[count // 2 :])]


def trained(model, steps, lr=0.4):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr, momentum=0.9)
    model.train()
    for step in range(steps):
        images, classes = samples(seed=step)[0]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), classes).backward()
        optimizer.step()
    return model.eval()


def side(reference, method, model):
    count = sum(parameter.numel() for parameter in model.parameters())
    return {
        "reference": reference,
        "method": method,
        "space": None,
        "run": None,
        "parameters": count,
        "fingerprint": f"{count:08x}",
    }


def records(before, after, evidence):
    found = {name: measure(before, after) for name, measure in WEIGHT_MEASURES.items()}
    for name, measure in DATA_MEASURES.items():
        for which, record in measure(before, after, evidence).items():
            found[name if which == "pair" else f"{name}-{which}"] = record
    return {name: json.loads(json.dumps(record.to_dict())) for name, record in found.items()}


def layered(kernels):
    """A model whose layers, a convolution each, have these kernels [out, in, ...]; depthwise where in is 1."""
    classes = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
    model = nn.Sequential()
    for kernel in kernels:
        out, within, *size = kernel.shape
        groups = out if within == 1 else 1
        conv = classes[kernel.ndim](within * groups, out, tuple(size), groups=groups, bias=False)
        conv.weight = nn.Parameter(kernel.clone())
        model.append(conv)
    return model


@pytest.fixture
def pair_of():
    """Make a pair with the named records of weights from the kernels of two models, a tensor a layer."""

    def made(name, before, after, *measures):
        models = layered(before), layered(after)
        found = {measure: WEIGHT_MEASURES[measure](*models).to_dict() for measure in measures}
        facts = {"before": side("start", None, models[0]), "after": side(name, name, models[1])}
        return ModelPair(name, facts, json.loads(json.dumps(found)))

    return made


@pytest.fixture(scope="session")
def pairs():
    """Two pairs of one start: trained further plainly, and refocused."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = trained(Tiny(), steps=4)
        plain = trained(copy.deepcopy(before), steps=6)
        refocused = copy.deepcopy(before)
        refconv.refocus(refocused)
        refocused = refconv.merged(trained(refocused, steps=6))
        evidence = EvalData(samples(100), samples(101), mean=(MEAN,) * 3, std=(STD,) * 3)
        return [
            ModelPair(
                method,
                {
                    "before": side("start", None, before),
                    "after": side(method, method, after),
                    "model": "tiny",
                    "task": "classification",
                    "class_names": ["apple", "bird", "cup", "door"],
                    "data": {"name": "noise", "split": "test", "max_samples": None, "max_seconds": None},
                    "measured": dict.fromkeys((*WEIGHT_MEASURES, *DATA_MEASURES), 0.1),
                    "left_out": {},
                    "hardware": "1 CPU core",
                    "versions": {"refconv": "0"},
                    "command": "refconv analyze",
                },
                records(before, after, evidence),
            )
            for method, after in (("plain", plain), ("refocus", refocused))
        ]
