"""Whatever a model returns is looked into, compared by its kind, or named as not compared."""

import collections
import dataclasses
import math
import types

import numpy
import pytest
import torch
from PIL import Image

from refconv.surgery.outputs import distance, leaves

T = torch.tensor([[1.0, -2.0], [0.5, 4.0]])
Pair = collections.namedtuple("Pair", "one two")


@dataclasses.dataclass
class Output:
    logits: object
    aux: object = None


class Instances:
    """As a detection library's container: fields in a private dictionary."""

    def __init__(self, t):
        self._fields_of = {"boxes": t}


class Slotted:
    __slots__ = ("__hidden", "shown")

    def __init__(self, t):
        self.shown, self.__hidden = 1, t


class ModelOutput(collections.OrderedDict):
    """A dictionary whose entries are attributes too."""


def cyclic(t):
    box = types.SimpleNamespace(t=t)
    box.me = [box]
    return box


FORMS = {
    "tensor": lambda t: t,
    "dataclass": Output,
    "attributes": Instances,
    "slots": Slotted,
    "namespace": lambda t: types.SimpleNamespace(t=t),
    "named tuple": lambda t: Pair(t, None),
    "nest": lambda t: {"a": [3, (t, None)], 5: {"b"}},
    "mapping": lambda t: ModelOutput(o=t),
    "cycle": cyclic,
    "numpy": lambda t: [t.numpy()],
    "numpy objects": lambda t: numpy.array([t, None], dtype=object),
    "numpy scalar": lambda t: t.numpy().sum(),
    "number": lambda t: float(t.sum()),
    "sparse": lambda t: t.to_sparse(),
    "nested tensor": lambda t: torch.nested.as_nested_tensor([t, t[:1]]),
    "quantized": lambda t: torch.quantize_per_tensor(t, 0.5, 0, torch.qint8),
    "complex": lambda t: torch.complex(torch.ones_like(t), t),
    "conjugate": lambda t: torch.complex(torch.ones_like(t), t).conj(),
    "half": lambda t: t.to(torch.bfloat16),
    "image": lambda t: Image.fromarray(t.numpy()),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:.*quantize_per_tensor")
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_distance_finds_the_tensor_in_any_form(form):
    other = T.clone()
    other[0, 0] += 1
    apart, same = distance(form(T), form(other)), distance(form(T), form(T.clone()))
    assert (apart.difference, apart.opaque) == (1.0, ())
    assert (same.difference, same.relative, same.opaque, same.unlike) == (0.0, 0.0, (), ())
    assert same.compared > 0


@pytest.mark.parametrize("value", [iter([T]), lambda: T, object(), T.to("meta"), (t for t in [T])])
def test_distance_names_what_it_cannot_look_into(value):
    found = distance({"o": value}, {"o": value})
    assert (found.compared, found.difference) == (0, 0.0)
    assert found.opaque[0].startswith("['o'] (")


@pytest.mark.parametrize("value", [None, [], {"a": None}, T[:0]])
def test_distance_compares_nothing_where_nothing_is(value):
    assert distance(value, value).compared == 0


@pytest.mark.parametrize(
    ("first", "second", "difference", "relative"),
    [
        (T, T + 1, 1.0, 0.25),
        ({"boxes": T * 600, "scores": T / 4}, {"boxes": T * 600, "scores": T / 4 + 0.01}, 0.01, 0.01),
        (T * math.nan, T * math.nan, 0.0, 0.0),
        (T * math.inf, T * math.inf, 0.0, 0.0),
        (T * math.inf, T * -math.inf, math.inf, math.inf),
        (T, T * math.nan, math.inf, math.inf),
        (torch.tensor([1.0, math.nan]), torch.tensor([1.5, math.nan]), 0.5, 0.5),
        (torch.tensor([3.0, math.inf]), torch.tensor([3.3, math.inf]), 0.3, 0.1),
        (torch.tensor([3 + 4j]), torch.tensor([3 + 4.5j]), 0.5, 0.1),
        (torch.tensor([complex(1, math.nan)]), torch.tensor([complex(2, math.nan)]), 1.0, 1.0),
        (torch.tensor([True, False]), torch.tensor([True, True]), 1.0, 1.0),
        (torch.tensor([10**6]), torch.tensor([10**6 + 1]), 1.0, 1.0),
        (torch.tensor([2**60]), torch.tensor([2**60 + 1]), 1.0, 1.0),
        (torch.zeros(2), torch.full((2,), 0.5), 0.5, 1.0),
        (T.double(), T.half(), 0.0, 0.0),
        (T, T.bool(), math.inf, math.inf),
        (T, T[:1], math.inf, math.inf),
        ({"a": T}, {"b": T}, math.inf, math.inf),
        (["cat", 1], ["dog", 1], math.inf, math.inf),
        (None, T, math.inf, math.inf),
    ],
)
def test_distance_compares_each_kind_by_its_own_rule(first, second, difference, relative):
    found = distance(first, second)
    assert found.difference == pytest.approx(difference, rel=1e-5)
    assert found.relative == pytest.approx(relative, rel=1e-5)


def test_leaves_survives_chains_that_meet_again():
    value = [T]
    for _ in range(100):
        value = [value, value]  # 2^100 ways to the tensor
    assert len(leaves(value)) == 101
