"""docs/integrations/trainer.md, run and checked."""

import pytest
import torch

import refconv
from integration_pages import MARKS, run_page

pytestmark = MARKS


def convnext():
    from transformers import ConvNextConfig, ConvNextForImageClassification

    # the layer scale of a trained network: at its start of 1e-6 no gradient would reach the blocks
    sizes = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "layer_scale_init_value": 1.0}
    return ConvNextForImageClassification(ConvNextConfig(**sizes, patch_size=2, num_labels=3))


def resnet():
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    return ResNetForImageClassification(ResNetConfig(**sizes, num_labels=3))


@pytest.fixture(scope="module", params=[convnext, resnet], ids=["convnext", "resnet"])
def done(request, tmp_path_factory):
    """Return the folder in which the page was run for a network, the names that it defined, and the network."""
    place = tmp_path_factory.mktemp("page")
    before = request.param()
    before.save_pretrained(place / "network")
    images = torch.randn(32, 3, 32, 32)
    samples = [{"pixel_values": image, "labels": number % 3} for number, image in enumerate(images)]
    return place, run_page("trainer", place, train_set=samples), before


def assert_plain_and_refocused(folder, before, after):
    loaded, info = type(before).from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    certificate = refconv.verify(after.eval(), loaded.eval(), torch.randn(4, 3, 32, 32))
    assert certificate.same_structure
    assert certificate.largest_output_difference == 0
    assert sum(one.numel() for one in loaded.parameters()) == sum(one.numel() for one in before.parameters())
    moved = {layer.name for layer in refconv.find_layers(before) if layer.layout().taps > 1}
    assert moved
    for name in moved:
        assert not torch.equal(before.get_parameter(f"{name}.weight"), loaded.get_parameter(f"{name}.weight"))


def test_gradient_space_saves_an_ordinary_network(done):
    place, names, before = done
    trained = names["resumed"].model
    assert_plain_and_refocused(place / "refocused", before, trained)
    optimizer = names["resumed"].optimizer.optimizer
    assert all(bool(optimizer.refocus_weight(layer).any()) for layer in optimizer.layers)


def test_kernel_space_merges_to_an_ordinary_network(done):
    place, names, before = done
    assert_plain_and_refocused(place / "merged", before, names["plain"])
    assert refconv.verify(names["trainer"].model, names["plain"], torch.randn(4, 3, 32, 32)).same_outputs


def test_resumed_training_ends_at_the_same_weights(done):
    place, names, before = done
    straight = type(before).from_pretrained(place / "refocused").state_dict()
    resumed = names["resumed"].model.state_dict()
    assert all(torch.equal(resumed[key], value) for key, value in straight.items())
    ends = [names[name].model.state_dict() for name in ("trainer", "resumed_kernel")]
    assert all(torch.equal(ends[1][key], value) for key, value in ends[0].items())


def trained(space, folder, **limits):
    """Return the weights after four steps of the Trainer with SGD in a space, in float64 and clipped."""
    from transformers import Trainer, TrainingArguments

    torch.manual_seed(0)
    model = convnext().double()
    if space == "kernel":
        refconv.refocus(model)
        parameters = [one for one in model.parameters() if one.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    else:
        groups = refconv.param_groups(model)
        optimizer = refconv.RefocusSGD(groups, lr=0.05, momentum=0.9, max_norm=limits.pop("max_norm", None))
    samples = [{"pixel_values": torch.randn(3, 32, 32, dtype=torch.float64), "labels": n % 3} for n in range(16)]
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "report_to": [], "save_strategy": "no"}
    arguments = TrainingArguments(str(folder), **settings, **limits)
    Trainer(model, arguments, train_dataset=samples, optimizers=(optimizer, None)).train()
    return refconv.merged(model).state_dict() if space == "kernel" else model.state_dict()


def test_max_norm_clips_as_the_trainer_does_in_kernel_space(tmp_path):
    expected = trained("kernel", tmp_path, max_grad_norm=0.1)
    found = trained("gradient", tmp_path, max_norm=0.1, max_grad_norm=0)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-12)  # float64, four steps

    def distance(other):
        return max((other[key] - value).abs().max().item() for key, value in expected.items())

    assert distance(trained("gradient", tmp_path, max_grad_norm=0)) > 1e-3  # the limit was reached
    assert distance(trained("gradient", tmp_path, max_grad_norm=0.1)) > 1e-6  # and is another norm's than the Trainer's
