"""Attacks on a linear model in closed form and against captum's; corruptions and shifts by hand and other libraries."""

import io

import pytest
import torch
from torch import nn

from networks import EveryKind
from refconv.analysis.batches import drawn
from refconv.analysis.measures import robustness
from refconv.analysis.measures.robustness import (
    CORRUPTIONS,
    adversarial_robustness,
    blurred,
    brightened,
    corrupt,
    corruption_robustness,
    fgsm,
    jpeg_compressed,
    pgd,
    shift_consistency,
    shifted,
)
from refconv.analysis.registry import DATA_MEASURES, EvalData
from refconv.errors import DataError, ModelError, SettingError
from refconv.measures.robustness import AdversarialRobustness, CorruptionRobustness, ShiftConsistency

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)


def images(count=6, size=8, channels=3, seed=0):
    """Pixels from 0 to 1 in float64, and labels of two classes."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(count, channels, size, size, generator=generator, dtype=torch.float64)
    return pixels, torch.randint(0, 2, (count,), generator=generator)


def normalised(pixels, mean=MEAN, std=STD):
    shape = (1, -1, 1, 1)
    return (pixels - torch.tensor(mean).double().reshape(shape)) / torch.tensor(std).double().reshape(shape)


def linear(size=8, channels=3, seed=0, scale=1.0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, 2)).double()
    with torch.no_grad():
        model[1].weight.mul_(scale)
    return model


def bounds(mean=MEAN, std=STD):
    mean, std = (torch.tensor(values).double().reshape(1, -1, 1, 1) for values in (mean, std))
    return {"low": -mean / std, "high": (1 - mean) / std}, 1 / std


def test_fgsm_on_a_linear_model_moves_every_pixel_by_the_radius_along_the_difference_of_weights():
    """d(loss of class y)/dx = p_other (w_other - w_y), so pixel' = clamp(pixel + e sign(w_other - w_y), 0, 1)."""
    pixels, labels = images()
    model, radius = linear(), 0.1
    valid, scale = bounds()
    moved = fgsm(model, normalised(pixels), labels, radius=radius * scale, **valid)
    weight = model[1].weight.detach().reshape(2, 3, 8, 8)
    direction = torch.where((labels == 1)[:, None, None, None], weight[0] - weight[1], weight[1] - weight[0]).sign()
    torch.testing.assert_close(moved, normalised((pixels + radius * direction).clamp(0, 1)))
    assert not torch.allclose(moved, normalised(pixels + radius * direction))  # clamping matters here
    per_sample = normalised(pixels) + radius * direction  # the radius not divided by std
    assert not torch.allclose(moved, per_sample)


def test_accuracy_of_a_linear_model_falls_where_the_margin_is_used_up():
    """Without clamping, a sample of margin d falls once e |w_1 - w_0|_1 (in pixels) exceeds d."""
    model = linear(scale=0.02)
    pixels = images(40)[0] * 0.2 + 0.4  # far from 0 and 1
    samples = normalised(pixels)
    outputs = model(samples).detach()
    labels = outputs.argmax(1)
    difference = (model[1].weight[1] - model[1].weight[0]).detach().reshape(3, 8, 8)
    steepness = (difference.abs().sum((1, 2)) / torch.tensor(STD)).sum()
    falls_at = (outputs[:, 0] - outputs[:, 1]).abs() / steepness
    radii = falls_at.quantile(torch.tensor([0.2, 0.5, 0.8]).double()).tolist()
    found = adversarial_robustness(model, [(samples, labels)], mean=MEAN, std=STD, radii=radii)
    expected = tuple(float((falls_at > radius).double().mean()) for radius in (0, *radii))
    assert expected == (1, 0.8, 0.5, 0.2)
    assert found.curves[0].accuracy == pytest.approx(expected)
    assert found.curves[1].accuracy == pytest.approx(expected)  # on a linear model PGD ends in the same corner
    assert found.curves[0].mean == pytest.approx(0.5)


@pytest.mark.filterwarnings("ignore:Input Tensor:UserWarning")
def test_attacks_are_those_of_captum_without_its_threshold():
    robust = pytest.importorskip("captum.robust")
    torch.manual_seed(0)
    model = EveryKind().double().eval()
    pixels, labels = images(4, 20)
    samples = normalised(pixels)
    valid, scale = bounds()
    loss = nn.CrossEntropyLoss(reduction="none")
    radius = 0.03 * scale
    attack = robust.FGSM(model, loss)
    attack.zero_thresh = 0
    attack.bound = lambda x: x.clamp(valid["low"], valid["high"])
    torch.testing.assert_close(
        fgsm(model, samples, labels, radius=radius, **valid), attack.perturb(samples, radius, labels)
    )
    attack = robust.PGD(model, loss)
    attack.fgsm.zero_thresh = 0
    attack.bound = lambda x: x.clamp(valid["low"], valid["high"])
    ours = pgd(model, samples, labels, radius=radius, steps=5, start=torch.zeros_like(samples), **valid)
    torch.testing.assert_close(ours, attack.perturb(samples, radius, radius * 0.5, 5, labels))
    assert not torch.allclose(ours, fgsm(model, samples, labels, radius=radius, **valid))


def test_pgd_stays_in_the_ball_and_finds_larger_losses_than_fgsm():
    torch.manual_seed(1)
    model = EveryKind().double().eval()
    pixels, labels = images(8, 20)
    samples = normalised(pixels)
    valid, scale = bounds()
    radius = 0.1 * scale
    start = drawn(samples, 0, 3, normal=False)
    moved = pgd(model, samples, labels, radius=radius, steps=10, start=start, **valid)
    assert ((moved - samples).abs() <= radius * (1 + 1e-12)).all()
    assert (moved >= valid["low"]).all()
    assert (moved <= valid["high"]).all()
    loss = nn.functional.cross_entropy
    one_step = fgsm(model, samples, labels, radius=radius, **valid)
    assert loss(model(moved), labels) > loss(model(one_step), labels) > loss(model(samples), labels)


def test_very_sure_samples_are_attacked_in_single_precision():
    """A margin of 60 leaves softmax a slope of e^-60: nothing in float32 and under captum's 1e-6, yet a direction."""
    model = linear().float()
    pixels, _ = images(1)
    samples = normalised(pixels).float()
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([60.0, 0.0]))
    valid, scale = bounds()
    valid = {name: value.float() for name, value in valid.items()}
    moved = fgsm(model, samples, torch.tensor([0]), radius=0.1 * scale.float(), **valid)
    assert (moved != samples).double().mean() > 0.9


def test_random_numbers_belong_to_samples_and_not_to_batches():
    samples = torch.zeros(5, 2, 3)
    whole = drawn(samples, 0, 7, normal=True)
    torch.testing.assert_close(
        torch.cat([drawn(samples[:2], 0, 7, normal=True), drawn(samples[2:], 2, 7, normal=True)]), whole
    )
    assert not torch.equal(drawn(samples, 0, 8, normal=True), whole)
    assert drawn(samples, 0, 7, normal=False).abs().max() <= 1


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_strength_zero_changes_nothing_and_each_further_one_more(kind):
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 48), indexing="ij")
    pixels = torch.stack([rows * columns, (6 * rows).sin().abs(), (9 * columns).cos().abs()])[None] * 0.5 + 0.1
    noise = drawn(pixels, 0, 0, normal=True)
    for table in ("ImageNet-C", "CIFAR-10-C"):
        changed = [corrupt(pixels, kind, strength, table=table, noise=noise) for strength in range(6)]
        assert torch.equal(changed[0], pixels)
        distances = [float((image - pixels).square().mean()) for image in changed]
        assert distances == sorted(distances)
        assert distances[1] > 0
        assert all(image.min() >= 0 and image.max() <= 1 for image in changed)


def test_levels_that_change_nothing_change_nothing():
    pixels = images()[0]
    assert torch.equal(blurred(pixels, 0), pixels)
    torch.testing.assert_close(brightened(pixels, 0), pixels)


def test_blur_is_scipys_gaussian_with_the_border_repeated():
    ndimage = pytest.importorskip("scipy.ndimage")
    pixels = images(2, 12)[0]
    expected = ndimage.gaussian_filter(pixels.numpy(), (0, 0, 1.7, 1.7), mode="nearest", truncate=4.0)
    torch.testing.assert_close(blurred(pixels, 1.7), torch.from_numpy(expected))


def test_brightness_raises_the_value_of_hsv():
    color = pytest.importorskip("skimage.color")
    pixels = images(2, 6)[0]
    pixels[0, :, 0, 0] = 0
    hsv = color.rgb2hsv(pixels.numpy(), channel_axis=1)
    hsv[:, 2] = (hsv[:, 2] + 0.3).clip(0, 1)
    torch.testing.assert_close(brightened(pixels, 0.3), torch.from_numpy(color.hsv2rgb(hsv, channel_axis=1)))
    assert not torch.allclose(brightened(pixels, 0.3), (pixels + 0.3).clamp(0, 1))


def test_contrast_by_hand():
    pixels = torch.tensor([0.2, 0.6]).reshape(1, 1, 1, 2)
    found = corrupt(pixels, "contrast", 2, table="CIFAR-10-C", noise=pixels)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.3, 0.5]))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_keeps_constant_images_and_is_pillows(channels):
    from PIL import Image

    constant = torch.full((1, channels, 16, 16), 128 / 255)
    torch.testing.assert_close(jpeg_compressed(constant, 80), constant)
    pixels = images(1, 16, channels)[0].float()
    picture = (pixels[0] * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(picture[..., 0] if channels == 1 else picture).save(file, "JPEG", quality=40)
    read = torch.tensor(list(Image.open(file).tobytes())).reshape(16, 16, channels).permute(2, 0, 1) / 255
    torch.testing.assert_close(jpeg_compressed(pixels, 40)[0], read)


def test_shifts_repeat_the_border():
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert shifted(image, 1, 0)[0, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    assert shifted(image, 0, -1)[0, 0].tolist() == [[1, 2, 2], [4, 5, 5], [7, 8, 8]]
    assert torch.equal(shifted(image, 0, 0), image)


class Corner(nn.Module):
    """Class 1 if the pixel in the given place is above one half."""

    def __init__(self, row, column):
        super().__init__()
        self.place = row, column

    def forward(self, x):
        value = x[:, 0, self.place[0], self.place[1]]
        return torch.stack([torch.full_like(value, 0.5), value], 1)


def test_shift_consistency_by_hand():
    """One bright pixel at the looked-at place: every shift moves it away; a constant image never changes."""
    lone = torch.zeros(1, 1, 9, 9)
    lone[0, 0, 4, 4] = 1
    wide = torch.zeros(1, 1, 9, 9)
    wide[0, 0, 3:6, 4] = 1  # survives one pixel up and down, not two
    data = [(torch.cat([lone, wide, torch.ones(1, 1, 9, 9), torch.ones(1, 1, 9, 9)]), torch.tensor([1, 1, 1, 0]))]
    found = shift_consistency(Corner(4, 4), data, pixels=2)
    assert found.same == ((0 + 2 + 4 + 4) / 16, (0 + 0 + 4 + 4) / 16)
    assert found.stable == (0.5, 0.5)
    assert found.accuracy == ((0 + 2 + 4 + 0) / 16, 4 / 16)
    assert found.clean_accuracy == 0.75
    assert "class stays" in str(found)


MEASURES = [
    pytest.param(
        adversarial_robustness, {"mean": MEAN, "std": STD, "radii": [0.02, 0.1], "steps": 2}, id="adversarial"
    ),
    pytest.param(corruption_robustness, {"mean": MEAN, "std": STD}, id="corruption"),
    pytest.param(shift_consistency, {"pixels": 2}, id="shift"),
]


@pytest.mark.parametrize(("measure", "settings"), MEASURES)
def test_a_real_model_is_measured_alike_however_batched_and_left_alone(measure, settings, trained_pair, state_of):
    model = trained_pair[1]
    pixels, labels = images(9, 20)
    samples = normalised(pixels).float()
    state, numbers, told = state_of(model), torch.get_rng_state(), []
    found = measure(model, [(samples, labels)], progress=lambda *done: told.append(done), **settings)
    assert state.unchanged()
    assert torch.equal(torch.get_rng_state(), numbers)
    assert told == [(9, 9)]
    assert (found.samples, found.cut) == (9, False)

    def again():
        return iter([(samples[:4], labels[:4]), (samples[4:], labels[4:])])

    assert measure(model, again, **settings) == found
    bounded = measure(model, again, max_samples=6, **settings)
    assert (bounded.samples, bounded.cut) == (6, True)
    assert bounded == measure(model, [(samples[:6], labels[:6]), (samples[6:], labels[6:])], max_samples=6, **settings)
    assert "6 samples of more" in str(bounded)
    assert type(found).from_json(found.to_json()) == found
    assert isinstance(found, (AdversarialRobustness, CorruptionRobustness, ShiftConsistency))


def test_images_are_corrupted_once_for_both_models_of_a_pair(monkeypatch):
    models, (pixels, labels), calls = (linear(seed=0), linear(seed=1)), images(9), []
    batches, settings = [(normalised(pixels), labels)], {"mean": MEAN, "std": STD}
    alone = [corruption_robustness(model, batches, **settings) for model in models]
    assert alone[0] != alone[1]
    monkeypatch.setattr(robustness, "corrupt", lambda *given, **how: calls.append(given[1:]) or corrupt(*given, **how))
    found = DATA_MEASURES["corruptions"](*models, EvalData(batches, batches, MEAN, STD))
    assert [found["before"], found["after"]] == alone
    assert len(calls) == len(set(calls)) == 5 * len(CORRUPTIONS)


def test_images_of_other_channels_and_signals_are_measured_as_far_as_they_can_be(trained_pair):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    pixels, labels = images(4, 70, 2)
    settings = {"mean": (0, 0), "std": (1, 1)}
    found = corruption_robustness(model, [(pixels.float(), labels)], **settings)
    assert found.table == "ImageNet-C"
    assert [curve.kind for curve in found.curves] == list(CORRUPTIONS[:-1])
    assert "jpeg_compression left out" in str(found)
    line = nn.Sequential(nn.Conv1d(2, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    signals = pixels[:, :, 0].float()
    assert len(adversarial_robustness(line, [(signals, labels)], radii=[0.1], **settings).curves[0].accuracy) == 2
    with pytest.raises(DataError, match="needs images"):
        corruption_robustness(line, [(signals, labels)], **settings)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batches": []}, DataError, "no samples"),
        ({"batches": [(torch.zeros(2, 3, 8, 8), torch.zeros(2, 2))]}, DataError, "no classes"),
        ({"batches": [(torch.zeros(2, 3, 8, 8), torch.zeros(3, dtype=torch.long))]}, DataError, "do not fit"),
        (
            {"batches": [(torch.zeros(2, 3, 8, 8), torch.tensor([0, 9]))]},
            DataError,
            "no class of the model; expected 0 to 1",
        ),
        ({"batches": [(torch.full((1, 3, 8, 8), 9.0), torch.tensor([0]))]}, DataError, "no images under this norm"),
        ({"mean": (0,), "std": (1,)}, DataError, "normalisation does not fit"),
        ({"radii": [0]}, SettingError, "nothing to attack with"),
        ({"max_samples": 0}, SettingError, "max_samples: too few"),
        ({"batches": [(torch.full((1, 3, 8, 8), float("nan")), torch.tensor([0]))]}, DataError, "not finite"),
        ({"model": nn.Conv2d(3, 3, 3)}, ModelError, "does not classify"),
        ({"model": linear(5).float()}, ModelError, "does not take this data"),
        ({"model": "resnet18"}, ModelError, "nothing to analyse"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_refused_in_one_line(changes, error, message):
    given = {"model": linear().float(), "batches": [(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))]}
    given |= {"mean": MEAN, "std": STD} | changes
    with pytest.raises(error, match=message) as caught:
        adversarial_robustness(given.pop("model"), given.pop("batches"), **given)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_and_shifts_of_nothing_are_refused():
    model = linear().float()
    model[1].bias.data[0] = float("nan")
    data = [(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))]
    with pytest.raises(ModelError, match=r"1\.bias: the weight has entries that are not finite"):
        shift_consistency(model, data)
    with pytest.raises(SettingError, match="nothing to shift by"):
        shift_consistency(linear().float(), data, pixels=0)
    with pytest.raises(DataError, match="more than 8 pixels"):
        shift_consistency(linear().float(), data, pixels=8)
    with pytest.raises(SettingError, match="unknown corruption"):
        corruption_robustness(linear().float(), data, mean=MEAN, std=STD, kinds=["fog"])
