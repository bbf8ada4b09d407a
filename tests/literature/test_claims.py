"""What single papers claim of kernels, beyond a network that lives: folding, materialising, pruning, explaining."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import refconv
from literature import applications, mixers, stages
from literature.life import depthwise, distance, head, objective, outputs, sgd, train, unit
from networks import randomise

pytestmark = pytest.mark.literature


def refocused(model, std=0.05):
    """Refocus a model and give its refocus weights random values; return it."""
    refconv.refocus(model)
    randomise(model, std)
    return model


def merged_and_fresh(case):
    """Return a network as merged, and the same state in a fresh one of the same factory."""
    model = refocused(case.model()).eval()
    refconv.merge(model)
    fresh = case.model().eval()
    fresh.load_state_dict(model.state_dict())
    return model, fresh


def test_branches_fold_before_refocusing_or_after_the_merge():
    case = mixers.CASES["dilated_branches"]
    model, batch = case.model(), case.batch()
    train(model, sgd(model), batch)  # statistics that are not those of the start
    before = copy.deepcopy(model).eval()
    refocused(model)
    expected = outputs(model, batch)
    refconv.merge(model)
    model[1] = model[1].folded()
    torch.testing.assert_close(outputs(model, batch), expected, rtol=1e-12, atol=1e-13)
    before[1] = before[1].folded()  # first folded: then the one large kernel refocuses
    plain = outputs(before, batch)
    plan = refconv.refocus(before)
    assert [row.shape for row in plan.refocused][1] == (6, 1, 13, 13)
    assert all(map(torch.equal, plain, outputs(before, batch)))


def test_a_convolution_behind_space_to_depth_is_one_of_twice_the_size():
    model = refocused(nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(8, 5, 3, padding=1, bias=False)).double())
    x = torch.randn(2, 2, 12, 12, dtype=torch.float64)
    expected = model(x)
    refconv.merge(model)
    wide = F.pixel_shuffle(model[1].weight, 2)  # [5, 2, 6, 6]
    torch.testing.assert_close(F.conv2d(x, wide, stride=2, padding=2), expected, rtol=1e-12, atol=1e-13)
    assert not torch.allclose(F.conv2d(x, wide.flip(-1), stride=2, padding=2), expected)


def test_a_merged_large_kernel_gives_the_same_through_the_spectrum():
    model = refocused(nn.Sequential(depthwise(3, 31)).double(), std=0.02)
    refconv.merge(model)
    (layer,) = model
    x = torch.randn(1, 3, 40, 40, dtype=torch.float64)
    size = [40 + 30] * 2
    kernel = layer.weight[:, 0].flip(-1, -2)  # a convolution correlates
    product = torch.fft.irfft2(torch.fft.rfft2(x, size) * torch.fft.rfft2(kernel, size), s=size)
    full = product[..., 15:55, 15:55] + layer.bias[:, None, None]
    torch.testing.assert_close(full, model(x), rtol=1e-11, atol=1e-12)


def test_a_tree_of_shared_filters_is_one_long_filter_that_refocuses():
    """The multiresolution memory: one pair of filters at dilations 1, 2, 4 is linear, so it has one kernel."""
    low, high = torch.randn(2, 4, 1, 2, dtype=torch.float64)
    gains = torch.randn(3, 4, 1, dtype=torch.float64)

    def tree(x):
        total, current = 0, x
        for level, gain in enumerate(gains):
            padded = F.pad(current, (2**level, 0))
            total = total + gain * F.conv1d(padded, high, dilation=2**level, groups=4)
            current = F.conv1d(padded, low, dilation=2**level, groups=4)
        return total + current

    impulse = torch.zeros(1, 4, 8, dtype=torch.float64)
    impulse[..., 0] = 1
    layer = nn.Sequential(nn.ConstantPad1d((7, 0), 0), nn.Conv1d(4, 4, 8, groups=4, bias=False)).double()
    layer[1].weight.data.copy_(tree(impulse).flip(-1).transpose(0, 1))
    x = torch.randn(2, 4, 30, dtype=torch.float64)
    torch.testing.assert_close(layer(x), tree(x), rtol=1e-12, atol=1e-12)
    expected = refocused(layer)(x)
    refconv.merge(layer)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)


def test_a_filter_of_the_spectrum_is_a_circular_depthwise_kernel_that_refocuses():
    filters = torch.fft.rfft(torch.randn(4, 9, dtype=torch.float64))
    x = torch.randn(2, 4, 9, dtype=torch.float64)
    layer = nn.Sequential(nn.Conv1d(4, 4, 9, padding=4, padding_mode="circular", groups=4, bias=False)).double()
    layer[0].weight.data.copy_(torch.fft.irfft(filters, n=9).roll(4, -1).flip(-1)[:, None])
    torch.testing.assert_close(layer(x), torch.fft.irfft(torch.fft.rfft(x) * filters, n=9), rtol=1e-12, atol=1e-12)
    refocused(layer)
    trained = layer(x)
    refconv.merge(layer)
    spectrum = torch.fft.rfft(layer[0].weight[:, 0].flip(-1).roll(-4, -1))
    torch.testing.assert_close(trained, torch.fft.irfft(torch.fft.rfft(x) * spectrum, n=9), rtol=1e-12, atol=1e-12)


def test_generated_kernels_are_frozen_into_a_base_that_refocuses():
    """Sinc, Gabor and wavelet-like generators: their kernels are written into an ordinary convolution first."""
    t = torch.arange(-15, 16, dtype=torch.float64)
    cutoffs = torch.tensor([[0.02, 0.1], [0.1, 0.2], [0.2, 0.4]], dtype=torch.float64)
    low, high = (2 * f[:, None] * torch.sinc(2 * f[:, None] * t) for f in cutoffs.unbind(1))
    layer = nn.Sequential(nn.Conv1d(1, 3, 31, bias=False)).double()
    layer[0].weight.data.copy_(((high - low) * torch.hamming_window(31, periodic=False, dtype=t.dtype))[:, None])
    x = torch.randn(2, 1, 80, dtype=torch.float64)
    generated = layer(x)
    refconv.refocus(layer)
    assert torch.equal(layer(x), generated)
    train(layer, sgd(layer), (x,))
    trained = layer(x)
    refconv.merge(layer)
    assert torch.equal(layer(x), trained)
    assert not torch.equal(trained, generated)


def test_tucker_factors_fold_into_a_kernel_that_refocuses():
    parts = nn.Sequential(nn.Conv2d(6, 3, 1, bias=False), nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 8, 1)).double()
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    first, core, last = (part.weight for part in parts)
    one = nn.Sequential(nn.Conv2d(6, 8, 3)).double()
    one[0].weight.data.copy_(torch.einsum("oa,abhw,bi->oihw", last[..., 0, 0], core, first[..., 0, 0]))
    one[0].bias.data.copy_(parts[2].bias)
    torch.testing.assert_close(one(x), parts(x), rtol=1e-12, atol=1e-13)
    assert [row.skipped for row in refconv.plan(parts).rows] == ["one tap", None, "one tap"]
    trained = refocused(one)(x)
    refconv.merge(one)
    assert torch.equal(one(x), trained)


def test_filters_are_ranked_alike_before_and_after_the_merge():
    model = refocused(stages.CASES["plain_stack"].model())
    read = [layer.module.weight.detach().flatten(1).norm(dim=1) for layer in refconv.find_layers(model)]
    refconv.merge(model)
    merged = [layer.module.weight.detach().flatten(1).norm(dim=1) for layer in refconv.find_layers(model)]
    assert all(map(torch.equal, read, merged))


def pruned(model, keep):
    """Return a plain stack without some of the output channels of its first convolution."""
    model = copy.deepcopy(model)
    (convolution, norm, _), after = model[0], model[1][0]
    with torch.no_grad():
        convolution.weight = nn.Parameter(convolution.weight[keep].clone())
        norm.weight, norm.bias = nn.Parameter(norm.weight[keep].clone()), nn.Parameter(norm.bias[keep].clone())
        norm.running_mean, norm.running_var = norm.running_mean[keep], norm.running_var[keep]
        after.weight = nn.Parameter(after.weight[:, keep].clone())
    convolution.out_channels = norm.num_features = after.in_channels = len(keep)
    return model


def test_channels_of_a_merged_network_are_pruned_as_those_of_a_fresh_one_and_what_is_left_refocuses():
    case = stages.CASES["plain_stack"]
    merged, fresh = merged_and_fresh(case)
    strongest = merged[0][0].weight.flatten(1).norm(dim=1).topk(5).indices.sort().values
    small = [pruned(model, strongest) for model in (merged, fresh)]
    assert all(map(torch.equal, *(outputs(model, case.batch()) for model in small)))
    again, plain = copy.deepcopy(small[0]), outputs(small[0], case.batch())
    assert len(refconv.refocus(again).refocused) == 5
    assert all(map(torch.equal, plain, outputs(again, case.batch())))


def test_mean_activations_and_hooks_of_every_layer_survive_refocusing_and_merging():
    case = stages.CASES["plain_stack"]
    model, batch, seen = case.model().eval(), case.batch(), {}
    for name, layer in model.named_modules():
        layer.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output.mean((0,))}))
    names = [name for name, _ in model.named_modules()]
    refocused(model)
    outputs(model, batch)
    before = dict(seen)
    seen.clear()
    refconv.merge(model)
    outputs(model, batch)
    assert list(before) == list(seen)
    assert set(names) == set(seen)
    assert all(torch.equal(before[name], seen[name]) for name in seen)


def test_relevance_of_a_merged_network_is_that_of_a_fresh_one():
    lrp = pytest.importorskip("captum.attr").LRP
    merged, fresh = merged_and_fresh(stages.CASES["strides_in_place_of_pooling"])
    x = stages.CASES["strides_in_place_of_pooling"].batch()[0]
    maps = []
    for model in (merged, fresh):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # captum's, of its own hooks
            explained = lrp(model[:-1])  # it has no rule for flattening
            maps.append(explained.attribute(x.clone().requires_grad_(), target=(0, 0, 0)))
    assert torch.equal(*maps)
    assert float(maps[0].detach().abs().sum()) > 0


def test_views_of_units_by_deconvolution_of_a_merged_network_are_those_of_a_fresh_one():
    deconvolution = pytest.importorskip("captum.attr").NeuronDeconvolution
    case = stages.CASES["strides_in_place_of_pooling"]
    views = []
    for model in merged_and_fresh(case):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # captum's, of its own hooks
            views.append(deconvolution(model, model[5]).attribute(case.batch()[0].requires_grad_(), (2, 3, 3)))
    assert torch.equal(*views)
    assert float(views[0].detach().abs().sum()) > 0


def test_eight_bits_per_channel_do_to_a_merged_network_what_they_do_to_a_fresh_one():
    merged, fresh = (model.float() for model in merged_and_fresh(stages.CASES["plain_stack"]))
    for model in (merged, fresh):
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                scale = layer.weight.detach().abs().amax((1, 2, 3)) / 127
                zero = torch.zeros_like(scale, dtype=torch.int32)
                rounded = torch.fake_quantize_per_channel_affine(layer.weight.detach(), scale, zero, 0, -127, 127)
                layer.weight.data.copy_(rounded)
    x = stages.CASES["plain_stack"].batch()[0].float()
    assert torch.equal(*(outputs(model, (x,))[0] for model in (merged, fresh)))


def test_strides_may_change_while_a_supernet_trains():
    """Searched pooling: the geometry of a layer is its own, the kernel is refocused."""
    kernel = stages.CASES["plain_stack"].model()
    gradient, batch = copy.deepcopy(kernel), stages.CASES["plain_stack"].batch()
    refconv.refocus(kernel)
    optimizers = sgd(kernel), refconv.RefocusSGD(refconv.param_groups(gradient), lr=0.01, momentum=0.9)
    for stride in (1, 2, 1):
        for model, optimizer in zip((kernel, gradient), optimizers, strict=True):
            model[0][0].stride = (stride, stride)
            train(model, optimizer, batch, steps=1)
    refconv.merge(kernel)
    assert distance(kernel, gradient) < 1e-9


def test_a_subnet_is_copied_out_of_a_supernet_and_leaves_it_alone():
    """Once-for-all networks: the active slices become a network of their own, which is refocused."""
    supernet = stages.CASES["plain_stack"].model()
    before = copy.deepcopy(supernet.state_dict())
    subnet = pruned(supernet, torch.arange(5))
    refocused(subnet)
    train(subnet, sgd(subnet), stages.CASES["plain_stack"].batch())
    refconv.merge(subnet)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    assert subnet[0][0].weight.shape[0] == 5


def test_image_sizes_may_alternate():
    case = stages.CASES["trunk_of_any_size"]
    kernel, gradient = case.model(), case.model()
    refconv.refocus(kernel)
    optimizers = sgd(kernel), refconv.RefocusSGD(refconv.param_groups(gradient), lr=0.01, momentum=0.9)
    for size in (32, 64, 24):
        x = torch.randn(1, 3, size, size, dtype=torch.float64)
        for model, optimizer in zip((kernel, gradient), optimizers, strict=True):
            train(model, optimizer, (x,), steps=1)
    refconv.merge(kernel)
    assert distance(kernel, gradient) < 1e-9


def test_a_trunk_without_a_head_and_its_maps_are_refocused():
    timm = pytest.importorskip("timm")
    for arguments in ({"num_classes": 0}, {"features_only": True}):
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", **arguments).double().eval()
        x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
        plain = outputs(model, (x,))
        assert len(refconv.refocus(model).refocused) == 10
        assert all(map(torch.equal, plain, outputs(model, (x,))))
        randomise(model, 0.05)
        trained = outputs(model, (x,))
        refconv.merge(model)
        assert all(map(torch.equal, trained, outputs(model, (x,))))


def test_neighbours_of_embeddings_are_the_same_after_the_merge():
    case = applications.CASES["one_trunk_two_images"]
    model, images = refocused(case.model()).eval(), torch.randn(12, 3, 8, 8, dtype=torch.float64)
    found = torch.cdist(model.trunk(images), model.trunk(images)).argsort(1)
    refconv.merge(model)
    assert torch.equal(torch.cdist(model.trunk(images), model.trunk(images)).argsort(1), found)


def test_an_untrained_generator_fits_one_image_alike_in_both_spaces():
    case = applications.CASES["hourglass"]
    kernel, gradient, (x,) = case.model(), case.model(), case.batch()
    refconv.refocus(kernel)
    train(kernel, sgd(kernel), (x,), steps=40)
    train(gradient, refconv.RefocusSGD(refconv.param_groups(gradient), lr=0.01, momentum=0.9), (x,), steps=40)
    losses = [float(objective(model.train()(x)).detach()) for model in (kernel, gradient)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert losses[0] < float(objective(case.model()(x)).detach())


def test_scale_before_an_instance_norm_is_no_change_of_direction():
    analysis = pytest.importorskip("refconv.analysis")
    case = stages.CASES["instance_and_batch_norm"]
    before, after = case.model(), case.model()
    with torch.no_grad():
        for layer in refconv.find_layers(after):
            layer.weight.mul_(2)
    assert all(row.cosine == pytest.approx(1) for row in analysis.movement(before, after).layers)


def test_a_base_is_trained_on_generated_fractals_and_refocused_on_digits(tmp_path):
    """No natural image is needed for a base: iterated functions draw its classes."""
    engine, opening = (pytest.importorskip(f"refconv.{name}") for name in ("engine", "models.opening"))
    image = pytest.importorskip("PIL.Image")
    generator = torch.Generator().manual_seed(0)
    for kind in range(3):
        maps = 0.9 * (torch.rand(3, 2, 3, generator=generator) - 0.5)
        for number in range(8):
            pixels, point = torch.zeros(16, 16, dtype=torch.uint8), torch.zeros(2)
            for choice in torch.randint(3, (400,), generator=generator).tolist():
                point = maps[choice, :, :2] @ point + maps[choice, :, 2]
                row, column = ((point + 1) * 8).clamp(0, 15).long().tolist()
                pixels[row, column] = 255
            path = tmp_path / "fractals" / ("train" if number < 6 else "test") / str(kind) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(pixels.numpy()).save(path)
    shared = {
        "model": "refconv.models.networks:resnet_small",
        "in_chans": 1,
        "img_size": 16,
        "batch_size": 8,
        "workers": 0,
        "device": "cpu",
    }
    recipe = engine.Recipe(**shared, data=f"folder:{tmp_path / 'fractals'}", epochs=1)
    engine.train(recipe, tmp_path / "base", show=False)
    weights = {"checkpoint": str(tmp_path / "base"), "reset_classifier": True, "method": "refocus", "epoch_steps": 4}
    record = engine.train(engine.Recipe(**shared, **weights, data="digits", epochs=1), tmp_path / "run", show=False)
    assert record.certificate.same_structure
    base, run = (opening.open_model(str(tmp_path / name)).model for name in ("base", "run"))
    assert refconv.verify(base, run).largest_kernel_difference > 0


def test_tags_of_sound_files_are_trained_from_a_table(tmp_path):
    """Two tones, alone or together, are two tags; the trained network tells them apart in raw sound."""
    engine, soundfile = pytest.importorskip("refconv.engine"), pytest.importorskip("soundfile")
    generator, lines, t = torch.Generator().manual_seed(0), ["sound,split,low,high"], torch.arange(256) / 8000
    for number in range(48):
        low, high = number % 2, number // 2 % 2
        phase, noise = 6.28 * torch.rand(1, generator=generator), 0.05 * torch.randn(256, generator=generator)
        tones = [torch.sin(6.2832 * frequency * t + phase) for frequency in (200, 2000)]
        sound = 0.3 * (low * tones[0] + high * tones[1]) + noise
        soundfile.write(tmp_path / f"{number}.wav", sound.numpy(), 8000)
        lines.append(f"{number}.wav,{'train' if number < 32 else 'test'},{low},{high}")
    (tmp_path / "tags.csv").write_text("\n".join(lines))
    recipe = engine.Recipe(
        task="multilabel", model="refconv.models.networks:mobilenet_1d", data=f"table:{tmp_path / 'tags.csv'}",
        in_chans=1, method="refocus", epochs=12, batch_size=8, lr=0.02, workers=0, device="cpu",
    )  # fmt: skip
    record = engine.train(recipe, tmp_path / "run", show=False)
    assert record.measures["label_map"] > 0.8
    assert record.certificate.same_structure


def test_a_refocused_network_teaches_a_transformer():
    """A distilled student may have no convolution to refocus; its teacher is a refocused ConvNet."""
    torch.manual_seed(0)
    teacher = refocused(nn.Sequential(unit(3, 8), unit(8, 8), head(8, 4)).double()).eval()
    layer = nn.TransformerEncoderLayer(12, 2, 16, dropout=0.0, batch_first=True)
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    student = nn.Sequential(nn.Flatten(2), nn.Linear(256, 12), layer, nn.Flatten(), nn.Linear(36, 4)).double()
    with torch.no_grad():
        scores = teacher(x)

    def loss(found):
        return F.kl_div(found.log_softmax(1), scores.softmax(1), reduction="batchmean")

    first = float(loss(student(x)).detach())
    train(student, torch.optim.SGD(student.parameters(), lr=0.1), (x,), loss, steps=5)
    assert float(loss(student(x)).detach()) < first
    refconv.merge(teacher)
    assert torch.equal(teacher(x), scores)
