"""CKA of rotated and of independent features; the unbiased HSIC by its definition and against pytorch-cka's."""

import copy
import itertools

import pytest
import torch
from torch import nn

from refconv.analysis.measures.similarity import centred_gram, similarity
from refconv.errors import DataError, ModelError, SettingError
from refconv.measures.features import Similarity


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batches_of(*samples):
    return [(part, torch.zeros(len(part), dtype=torch.long)) for part in samples]


def linear(weight):
    model = nn.Linear(weight.shape[1], weight.shape[0], bias=False).double()
    model.weight = nn.Parameter(weight)
    return model


def biased(x, y):
    """The usual estimate: features centred, |X^T Y|^2 / (|X^T X| |Y^T Y|)."""
    x, y = x - x.mean(0), y - y.mean(0)
    return float((x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()))


def test_rotated_and_scaled_features_give_one_and_otherwise_transformed_ones_do_not():
    weight = drawn(6, 10)
    rotation = torch.linalg.qr(drawn(6, 6, seed=1)).Q
    data = batches_of(drawn(40, 10, seed=2), drawn(25, 10, seed=3))
    for other in (rotation @ weight, 3.7 * rotation @ weight):
        assert similarity(linear(weight), linear(other), data).layers[0].cka == pytest.approx(1, abs=1e-12)
    stretched = torch.tensor([[9.0], [1], [1], [1], [1], [1]]) * weight
    assert similarity(linear(weight), linear(stretched), data).layers[0].cka < 0.9


def test_channels_of_a_convolution_may_be_rotated():
    before = nn.Conv2d(3, 8, 3).double()
    after = copy.deepcopy(before)
    rotation = torch.linalg.qr(drawn(8, 8, seed=1)).Q
    with torch.no_grad():
        after.weight.copy_(torch.einsum("po,oiyx->piyx", rotation, before.weight))
        after.bias.zero_()  # a shift of all samples alike
    found = similarity(before, after, batches_of(drawn(12, 3, 7, 7, seed=2)))
    assert found.layers[0].cka == pytest.approx(1, abs=1e-12)
    assert found.layers[0].layer == "(the model itself)"


def test_independent_features_give_nothing_though_the_biased_estimate_says_nearly_one():
    """Halves of 400 independent columns, 16 samples a batch: the mean over batches is within its own spread of 0."""
    data = [drawn(16, 400, seed=seed) for seed in range(12)]
    eye = torch.eye(400, dtype=torch.float64)
    found = similarity(linear(eye[:200]), linear(eye[200:]), batches_of(*data), max_samples=None)
    assert abs(found.layers[0].cka) < 0.1
    assert biased(data[0][:, :200], data[0][:, 200:]) > 0.8


def test_inner_products_are_the_unbiased_hsic_of_its_definition():
    """E over distinct (i, j), (i, j, q, r), (i, j, q) of K[i,j] L[i,j] + K[i,j] L[q,r] - 2 K[i,j] L[i,q]."""
    x, y = drawn(6, 3), drawn(6, 2, seed=1)
    K, L = x @ x.T, y @ y.T
    K = K + torch.diag(drawn(6, seed=2))  # the diagonal does not matter
    pairs, triples, fours = (list(itertools.permutations(range(6), k)) for k in (2, 3, 4))
    expected = sum(K[i, j] * L[i, j] for i, j in pairs) / len(pairs)
    expected = expected + sum(K[i, j] * L[q, r] for i, j, q, r in fours) / len(fours)
    expected = expected - 2 * sum(K[i, j] * L[i, q] for i, j, q in triples) / len(triples)
    torch.testing.assert_close((centred_gram(K) * centred_gram(L)).sum() / (6 * 3), expected)
    H = torch.eye(6, dtype=torch.float64) - 1 / 6
    assert not torch.isclose((H @ K @ H * L).sum() / 25, expected)


@pytest.fixture(scope="module")
def data():
    return batches_of(drawn(10, 3, 20, 20).float(), drawn(10, 3, 20, 20, seed=1).float())


def grams_of(model, names, samples):
    """The Grams [layers, n, n] of outputs less the first sample's: the estimate does not see a shift, rounding does."""
    kept = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: kept.update({name: o.flatten(1)}))
    with torch.no_grad():
        model(samples)
    rows = [kept[name] - kept[name][:1] for name in names]
    return torch.stack([row @ row.T for row in rows])


def test_a_pair_is_measured_as_by_pytorch_cka(trained_pair, data):
    cka = pytest.importorskip("cka.hsic")
    pair = [copy.deepcopy(model).double() for model in trained_pair]
    doubles = [(samples.double(), targets) for samples, targets in data]
    found = similarity(*pair, doubles)
    names = list(found.matrix_layers)
    assert names == ["stem", "depthwise", "grouped", "pointwise", "up", "head"]
    parts = [cka.hsic(*(grams_of(model.eval(), names, samples) for model in pair)) for samples, _ in doubles]
    cross, first, second = (sum(values) for values in zip(*parts, strict=True))
    expected = cross / (first[:, None] * second).sqrt()
    torch.testing.assert_close(torch.tensor(found.matrix).double(), expected, atol=1e-6, rtol=1e-6)
    assert found.mean == pytest.approx(float(expected.diagonal().mean()))


def test_a_real_pair_is_left_alone_and_its_record_written(trained_pair, state_of, data):
    state, numbers, told = state_of(*trained_pair), torch.get_rng_state(), []
    found = similarity(*trained_pair, lambda: iter(data), progress=lambda *done: told.append(done))
    assert state.unchanged()
    assert torch.equal(torch.get_rng_state(), numbers)
    assert told == [(10, 512), (20, 512)]
    assert (found.samples, found.cut) == (20, False)
    assert all(-1 <= row.cka <= 1 + 1e-12 for row in found.layers)
    assert Similarity.from_json(found.to_json()) == found
    assert "mean" in str(found)
    same = similarity(trained_pair[0], trained_pair[0], data)
    assert [row.cka for row in same.layers] == pytest.approx([1] * 6)


def test_large_batches_are_taken_in_parts_and_small_rests_left_out(trained_pair):
    samples = drawn(130, 3, 20, 20).float()
    whole = similarity(*trained_pair, batches_of(samples, samples[:3]))
    parts = similarity(*trained_pair, batches_of(samples[:65], samples[65:]))
    assert whole.samples == 130
    assert [row.cka for row in whole.layers] == pytest.approx([row.cka for row in parts.layers], abs=1e-5)
    bounded = similarity(*trained_pair, batches_of(samples), max_samples=20)
    assert (bounded.samples, bounded.cut) == (20, True)


def test_layers_are_chosen_by_name_and_the_matrix_is_bounded(trained_pair, data):
    found = similarity(*trained_pair, data, layers=["norm", "*wise"], max_matrix=2)
    assert [row.layer for row in found.layers] == ["norm", "depthwise", "pointwise"]
    assert found.matrix_layers == ("norm", "pointwise")
    assert found.matrix[1][1] == found.layers[2].cka


class Odd(nn.Module):
    """A layer that never runs, one that runs twice, one of zeros and one whose rows are no samples."""

    def __init__(self):
        super().__init__()
        self.never, self.twice, self.zero, self.rows = (nn.Linear(3, 3) for _ in range(4))
        nn.init.zeros_(self.zero.weight)

    def forward(self, x):
        x = self.twice(self.twice(x))
        return self.rows(x.repeat(2, 1)) + self.zero(x).repeat(2, 1)


def test_layers_without_features_are_named_and_constant_ones_have_no_similarity():
    model = Odd().double()
    found = similarity(model, copy.deepcopy(model), batches_of(drawn(9, 3)))
    assert {row.layer: row.cka for row in found.layers} == {"twice": pytest.approx(1), "zero": None}
    assert found.left_out == {"never": "it does not run", "rows": "its output has no row per sample"}
    assert "never left out: it does not run" in str(found)


def test_bad_input_is_refused_in_one_line(trained_pair, data):
    first, _second = trained_pair
    spoilt = copy.deepcopy(first)
    spoilt.head.weight.data[0, 0] = float("nan")
    cases = [
        (ModelError, "differ in their layers.*6 only in the first", (first, nn.Sequential()), {}),
        (ModelError, "no layer to compare", (nn.ReLU(), nn.ReLU()), {}),
        (ModelError, r"head\.weight: .*not finite", (first, spoilt), {}),
        (SettingError, "layers: the pattern matches no layer; found 'tail'", (first, first), {"layers": ["tail"]}),
        (SettingError, "max_matrix", (first, first), {"max_matrix": 0}),
        (DataError, "CKA needs larger batches", (first, first), {"max_samples": 3}),
    ]
    for error, message, models, settings in cases:
        with pytest.raises(error, match=message) as caught:
            similarity(*models, data, **settings)
        assert "\n" not in str(caught.value)
    assert not any(module._forward_hooks for module in first.modules())
