"""Probes of frozen features against scikit-learn on features taken by hand."""

import sys

import pytest
import torch
from torch import nn

from refconv.analysis import linear_probes
from refconv.analysis.answers import answer
from refconv.errors import DataError, ModelError, SettingError

linear_model = pytest.importorskip("sklearn.linear_model")
neighbors = pytest.importorskip("sklearn.neighbors")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def embed(self, x):
        return self.body(x).mean((2, 3))

    def forward(self, x):
        return self.head(self.embed(x))


def drawn(count, seed):
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(count) % 3
    images = torch.randn(count, 1, 8, 8, generator=generator)
    images[..., :4] += 0.6 * classes[:, None, None, None]
    return images, classes


def test_accuracies_are_those_of_scikit_learn_on_features_of_the_classifiers_input():
    before, after = Net(), Net()
    (train, known), (test, targets) = drawn(60, 0), drawn(45, 1)
    found = linear_probes(before, after, [(test[:20], targets[:20]), (test[20:], targets[20:])],
                          calibration=[(train, known)], neighbours=7)  # fmt: skip
    rights = []
    for model in (before, after):
        with torch.no_grad():
            one, other = model.embed(train).double().numpy(), model.embed(test).double().numpy()
        mean, std = one.mean(0), one.std(0)
        linear = linear_model.LogisticRegression(max_iter=200).fit((one - mean) / std, known.numpy())
        votes = neighbors.KNeighborsClassifier(7, metric="cosine").fit(one, known.numpy())
        rights.append([
            torch.from_numpy(linear.predict((other - mean) / std)) == targets,
            torch.from_numpy(votes.predict(other)) == targets,
        ])  # fmt: skip
    for score, right, then in zip(found.scores, *rights, strict=True):
        assert score.accuracy == pytest.approx((float(right.double().mean()), float(then.double().mean())))
        assert (score.gained, score.lost) == (int((then & ~right).sum()), int((right & ~then).sum()))
    assert (found.samples, found.training_samples, found.features, found.neighbours) == (45, 60, (4, 4), 7)
    assert found.scores[0].accuracy[0] > 0.5


def test_trials_within_a_time_limit_do_not_train_again(monkeypatch):
    """Training samples pass through each model once; before, each trial trained both probes anew."""
    now, seen = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    before, after = Net(), Net()
    for model in (before, after):
        model.register_forward_hook(lambda _, given, __: seen.append(float(given[0][0, 0, 0, 0])))
    (train, known), (test, targets) = drawn(60, 0), drawn(64, 1)

    def batches():
        now[0] += 1  # each trial takes a second, however many samples it tests
        yield test, targets

    found = linear_probes(before, after, batches, calibration=[(train, known)], max_seconds=60.0)
    assert found == linear_probes(before, after, batches, calibration=[(train, known)])
    trained = float(train[0, 0, 0, 0])
    assert seen.count(trained) == 2 * 2  # two models, two calls of the measure
    assert len(seen) > 2 * 2 + 2 * 2  # trials there were


def test_the_models_own_classifier_does_not_matter():
    model, other = Net(), Net()
    other.load_state_dict(model.state_dict())
    nn.init.normal_(other.head.weight)
    data, training = [drawn(30, 1)], [drawn(60, 0)]
    for score in linear_probes(model, other, data, calibration=training).scores:
        assert (score.gained, score.lost) == (0, 0)


def test_features_of_a_convolutional_classifier_are_means_over_positions():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = drawn(5, 0)[0]
    torch.testing.assert_close(answer(model, x).features(), model[:2](x).double().mean((2, 3)))


def test_features_of_tokens_are_means_over_tokens():
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 3))
    x = torch.randn(4, 5, 8)
    torch.testing.assert_close(answer(model, x).features(), model[0](x).double().mean(1))


def test_what_cannot_be_probed_is_refused_in_one_line():
    model, (images, classes) = Net(), drawn(12, 0)
    with pytest.raises(DataError, match="two classes"):
        linear_probes(model, model, [(images, classes)], calibration=[(images, 0 * classes)])
    with pytest.raises(ModelError, match="no features"):
        linear_probes(nn.Flatten(), nn.Flatten(), [(images, classes)], calibration=[(images, classes)])
    with pytest.raises(DataError, match="no classes"):
        linear_probes(model, model, [(images, images)], calibration=[(images, classes)])


def test_a_real_pair_is_left_alone_and_its_record_written(trained_pair, state_of):
    x = torch.randn(12, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    data = [(x, torch.arange(12) % 3)]
    state, numbers = state_of(*trained_pair), torch.get_rng_state()
    found = linear_probes(*trained_pair, data, calibration=data)
    assert state.unchanged()
    assert torch.equal(torch.get_rng_state(), numbers)
    assert type(found).from_json(found.to_json()) == found
    assert found.neighbours == 12
    assert "trained on 12 samples" in str(found)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(SettingError, match=r"probes need scikit-learn; pip install .refconv.analysis."):
        linear_probes(Net(), Net(), [drawn(12, 0)], calibration=[drawn(12, 0)])
