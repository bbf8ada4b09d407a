"""docs/integrations/trainer.md, run and checked."""

import torch

from integration_pages import MARKS, run_page

pytestmark = MARKS


def samples(count=32):
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, 32, 32, generator=draw)
    return [{"pixel_values": image, "labels": number % 3} for number, image in enumerate(images)]


def write_convnext(folder):
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(
        hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, patch_size=2, num_labels=3, layer_scale_init_value=1.0
    )
    model = ConvNextForImageClassification(config)
    model.save_pretrained(folder)
    return model


def test_page_trains_and_saves_a_plain_network(tmp_path):
    from transformers import AutoModelForImageClassification

    before = write_convnext(tmp_path / "convnext")
    names = run_page("trainer", tmp_path, train_set=samples())
    optimizer = names["optimizer"]
    assert all(bool(optimizer.refocus_weight(layer).any()) for layer in optimizer.layers)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "refocused")
    assert list(loaded.state_dict()) == list(before.state_dict())
    for key, value in names["model"].state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
