"""A sample of benchmarks/coverage.py: the whole life of a refocused model on unusual architectures."""

import pytest
import torch
from torch import nn

import refconv
from benchmark_scripts import script

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")

Name = script("architectures.names").Name
trial = script("architectures.trial").trial

# name: what is unusual about it
SAMPLE = {
    "timm:tf_efficientnet_cc_b0_4e": "flattened experts of CondConv2d",
    "timm:ecaresnet26t": "1-D convolutions in a 2-D network",
    "timm:lambda_resnet26t": "3-D convolutions in a 2-D network",
    "timm:lowformer_b0": "transposed convolutions",
    "timm:convmixer_768_32": "padding as a word, few wide depthwise blocks",
    "timm:inception_next_atto": "1 x 11 and 11 x 1 kernels",
    "timm:mixnet_s": "containers of convolutions of several sizes, padding computed in the forward",
    "timm:nf_regnet_b0": "kernels standardised after the refocusing",
    "timm:resnetv2_50x1_bit": "standardised kernels, pre-activation",
    "timm:fastvit_t8": "branches, depthwise with a multiplier",
    "timm:cpubone_nano": "grouped 2 x 2 kernels",
    "timm:bat_resnext26ts": "8 x 1 kernels, bilinear attention",
    "timm:ghostnetv3_050": "ghost modules with branches",
    "timm:skresnet18": "dilated branches with selection",
    "timm:coat_lite_tiny": "position encodings by convolutions that all blocks of a stage share",
    "torchvision:deeplabv3_mobilenet_v3_large": "dilated, a dictionary of outputs",
    "torchvision:lraspp_mobilenet_v3_large": "dilated, a dictionary of outputs",
    "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn": "a detector: lists in, dictionaries out",
    "torchvision:retinanet_resnet50_fpn": "heads that run five times in one forward",
    "torchvision:raft_small": "two images, a convolution that runs twelve times",
    "torchvision:r2plus1d_18": "3-D convolutions, 1 x 3 x 3 and 3 x 1 x 1",
}


# What is unusual about these is always tested by others.
SLOW = {
    "timm:convmixer_768_32": "padding as a word: the contract of transformations",
    "timm:resnetv2_50x1_bit": "kernels standardised after the refocusing: nf_regnet_b0",
    "timm:bat_resnext26ts": "kernels of one column: inception_next_atto",
    "timm:skresnet18": "dilation: lraspp_mobilenet_v3_large; branches: fastvit_t8",
    "timm:tf_efficientnet_cc_b0_4e": "experts: the same network with a quarter of the channels, below",
    "timm:ecaresnet26t": "kernels of other dimensions than the network's: lambda_resnet26t",
    "timm:lowformer_b0": "transposed convolutions: the contract of transformations",
    "timm:ghostnetv3_050": "branches: fastvit_t8",
    "torchvision:deeplabv3_mobilenet_v3_large": "dilation: lraspp_mobilenet_v3_large",
    "torchvision:retinanet_resnet50_fpn": "a convolution that runs several times in one forward: raft_small",
    "torchvision:r2plus1d_18": "kernels 1 x 3 x 3 and 3 x 1 x 1: s3d in test_volumes.py",
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SAMPLE]
)
def test_architecture_is_refocused_trained_and_merged(name):
    check_trial(name)


def test_experts_are_refocused_trained_and_merged(monkeypatch):
    def narrow(name):
        return timm.models.efficientnet._gen_efficientnet_condconv(name.name, channel_multiplier=0.25)

    monkeypatch.setitem(trial.__globals__, "build", narrow)
    check_trial("timm:tf_efficientnet_cc_b0_4e")


def check_trial(name):
    library, _, plain = name.partition(":")
    result = trial(Name(library, plain))
    assert result.on_request == (("condconv",) if "_cc_" in name else ())
    assert result.same_start, "refocusing alone changed the outputs"
    assert result.felt, "outputs must depend on the refocus weights, or their equality says nothing"
    assert result.moved == result.refocused > 0
    assert result.same_structure
    # one computation gives the kernel in both models; what is left is the order of sums inside other operators
    assert result.difference < 1e-5


def test_trial_notices_a_merge_that_loses_the_kernels(monkeypatch):
    """Writing the bases back instead of the kernels must show, or the equality above says nothing."""
    monkeypatch.setattr(refconv, "merge", refconv.unrefocus)
    result = trial(Name("timm", "test_convnext"))
    assert result.same_structure
    assert not result.identical
    assert result.difference > 1e-3


class Deformable(nn.Module):
    def __init__(self):
        super().__init__()
        self.offset = nn.Conv2d(4, 2 * 9, 3, padding=1)
        self.conv = torchvision.ops.DeformConv2d(4, 6, 3, padding=1, groups=2)

    def forward(self, x):
        return self.conv(x, self.offset(x))


def test_deformable_convolution_is_refocused_on_request():
    torch.manual_seed(0)
    model = Deformable().double()
    assert [row.skipped for row in refconv.plan(model).rows] == [None, "only on request: include='deformable'"]
    batch = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    before = model(batch)
    refconv.refocus(model, include="deformable")
    assert torch.equal(model(batch), before)
    weight = model.conv.parametrizations.weight[0].refocus_weight
    with torch.no_grad():
        weight.normal_(std=0.1)
    refocused = model(batch)
    refocused.sum().backward()
    assert weight.grad.any()
    refconv.merge(model)
    fresh = Deformable().double()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(batch), refocused)
    assert not torch.allclose(refocused, before)
