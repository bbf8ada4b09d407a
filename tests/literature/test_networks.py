"""Networks of timm and torchvision that papers are about: built, refocused, trained, merged and loaded strictly."""

import pytest

import refconv
from benchmark_scripts import script

timm = pytest.importorskip("timm")
pytest.importorskip("torchvision")
pytestmark = pytest.mark.literature

Name = script("architectures.names").Name
build = script("architectures.names").build
trial = script("architectures.trial").trial
structure = script("architectures.trial").structure

# name: kernels that are refocused
RUN = {
    "timm:caformer_s18": 10,
    "timm:cs3darknet_focus_s": 14,
    "timm:cspdarknet53": 29,
    "timm:convnext_atto": 16,
    "timm:convnextv2_atto": 16,
    "timm:convformer_s18": 22,
    "timm:coatnet_nano_rw_224": 9,
    "timm:crossvit_9_240": 2,
    "timm:crossvit_9_dagger_240": 6,
    "timm:darknet17": 11,
    "timm:deit_tiny_patch16_224": 1,
    "timm:densenet121": 59,
    "timm:densenetblur121d": 61,
    "timm:ecaresnet26t": 19,
    "timm:fbnetc_100": 22,
    "timm:halonet26t": 8,
    "timm:inception_next_atto": 40,
    "timm:inception_v3": 54,
    "timm:lambda_resnet26t": 11,
    "timm:legacy_seresnext26_32x4d": 9,
    "timm:mixer_s16_224": 1,
    "timm:mnasnet_100": 18,
    "timm:mobilenetv1_100": 14,
    "timm:mobilenetv2_100": 18,
    "timm:mobilenetv3_large_100": 16,
    "timm:mobilenetv4_conv_blur_medium": 32,
    "timm:nf_regnet_b1": 21,
    "timm:poolformer_s12": 4,
    "timm:regnetx_002": 14,
    "timm:regnety_002": 14,
    "timm:resnet18": 17,
    "timm:resnet26": 9,
    "timm:resnetblur50": 17,
    "timm:resnetv2_18": 17,
    "timm:resnetv2_50d_evos": 19,
    "timm:resnext50_32x4d": 17,
    "timm:seresnet50": 17,
    "timm:test_convnext": 13,
    "timm:test_efficientnet_evos": 6,
    "timm:test_nfnet": 12,
    "timm:test_resnet": 10,
    "timm:efficientnet_cc_b0_4e": 17,
    "timm:vit_tiny_r_s16_p8_224": 2,
    "torchvision:deeplabv3_resnet50": 21,
    "torchvision:fcn_resnet50": 18,
    "torchvision:fcos_resnet50_fpn": 33,
    "torchvision:googlenet": 20,
    "torchvision:mc3_18": 17,
    "torchvision:retinanet_resnet50_fpn": 32,
    "torchvision:shufflenet_v2_x0_5": 20,
    "torchvision:ssdlite320_mobilenet_v3_large": 32,
}

# heads of a detector learn only where one of their default boxes matches an object
UNMATCHED = {"torchvision:ssdlite320_mobilenet_v3_large": 3}

# name: kernels that are refocused; too large to be trained here
PLANNED = {
    "timm:convmixer_1536_20": 21,
    "timm:dm_nfnet_f0": 28,
    "timm:nasnetalarge": 221,
    "timm:pnasnet5large": 169,
    "timm:senet154": 56,
    "timm:vit_base_r50_s16_224": 17,
    "timm:vgg16": 14,
    "torchvision:alexnet": 5,
    "torchvision:maskrcnn_resnet50_fpn": 27,
    "torchvision:ssd300_vgg16": 30,
    "torchvision:vgg11_bn": 8,
    "torchvision:vit_b_16": 1,
}


def named(text):
    library, _, name = text.partition(":")
    return Name(library, name)


@pytest.mark.parametrize("name", RUN)
def test_network_lives(name):
    result = trial(named(name))
    assert result.same_start
    assert result.felt
    assert result.refocused == RUN[name]
    assert result.moved == result.refocused - UNMATCHED.get(name, 0)
    assert result.same_structure
    assert result.difference == 0


@pytest.mark.parametrize("name", PLANNED)
def test_network_is_planned(name):
    assert structure(named(name)).refocused == PLANNED[name]


def test_pretrained_bases_of_semi_supervised_training_are_named_by_timm():
    tags = timm.list_pretrained(["resnet18.fb_s*", "resnet50.fb_s*"])
    assert {tag.partition(".")[2] for tag in tags} >= {"fb_swsl_ig1b_ft_in1k", "fb_ssl_yfcc100m_ft_in1k"}
    model = timm.create_model("resnet18.fb_swsl_ig1b_ft_in1k", pretrained=False)
    assert len(refconv.plan(model).refocused) == RUN["timm:resnet18"]
