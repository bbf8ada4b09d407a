"""Nearest neighbours against scikit-learn, and by hand."""

import pytest
import torch
from torch import nn

from refconv.analysis import nearest_neighbours
from refconv.errors import DataError, SettingError

neighbors = pytest.importorskip("sklearn.neighbors")


class Given(nn.Module):
    """A classifier whose features are some of the numbers of a sample."""

    def __init__(self, *columns):
        super().__init__()
        self.columns = list(columns)
        self.head = nn.Linear(len(columns), 2)

    def forward(self, x):
        return self.head(x[:, self.columns])


def test_neighbours_are_those_of_scikit_learn():
    x, targets = torch.randn(40, 6, dtype=torch.float64), torch.arange(40) % 4
    pair = Given(0, 1, 2).double(), Given(2, 3, 4, 5).double()
    found = nearest_neighbours(*pair, [(x[:25], targets[:25]), (x[25:], targets[25:])], sizes=(1, 4, 100))
    sides = []
    for model in pair:
        search = neighbors.NearestNeighbors(n_neighbors=39, metric="cosine").fit(x[:, model.columns].numpy())
        sides.append(search.kneighbors(return_distance=False))  # itself left out
    assert [row.size for row in found.sets] == [1, 4, 39]
    for row in found.sets:
        common = [len({*one[: row.size]} & {*other[: row.size]}) for one, other in zip(*sides, strict=True)]
        assert row.kept == pytest.approx(sum(common) / len(common) / row.size)
        assert row.chance == pytest.approx(row.size / 39)
    right = [targets[side[:, 0]] == targets for side in sides]
    assert found.nearest.accuracy == pytest.approx(tuple(float(one.double().mean()) for one in right))


def test_by_hand():
    """Three directions: before, the first two lie together; after, the last two do."""
    x = torch.tensor([[1.0, 0, 1, 0], [1, 0.1, 0, 1], [0, 1, 0.1, 1]])
    found = nearest_neighbours(Given(0, 1), Given(2, 3), [(x, torch.tensor([0, 0, 1]))], sizes=(1, 2))
    assert [row.kept for row in found.sets] == [pytest.approx(1 / 3), 1.0]  # the third sample's nearest is the second
    assert found.nearest.accuracy == (pytest.approx(2 / 3), 0.0)
    assert (found.nearest.gained, found.nearest.lost) == (0, 2)


def test_a_rotation_and_a_scale_change_no_neighbour():
    x = torch.randn(20, 4, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    turned = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 2)).double()
    turned[0].weight = nn.Parameter(3 * turn)
    found = nearest_neighbours(Given(0, 1, 2, 3).double(), turned, [(x, torch.arange(20) % 2)])
    assert [row.kept for row in found.sets] == [1.0, 1.0, 1.0]


def test_what_has_no_neighbours_is_refused_in_one_line():
    model, x = Given(0), torch.ones(1, 1)
    with pytest.raises(DataError, match="2 samples or more"):
        nearest_neighbours(model, model, [(x, torch.zeros(1, dtype=torch.long))])
    with pytest.raises(SettingError, match="sizes: too few"):
        nearest_neighbours(model, model, [(x, torch.zeros(1, dtype=torch.long))], sizes=(0,))


def test_a_real_pair_is_left_alone_and_its_record_written(trained_pair, state_of):
    x = torch.randn(12, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    state = state_of(*trained_pair)
    found = nearest_neighbours(*trained_pair, [(x, torch.arange(12) % 3)])
    assert state.unchanged()
    assert type(found).from_json(found.to_json()) == found
    assert "nearest of the same class" in str(found)
