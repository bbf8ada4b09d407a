"""A network of timm's kind that is smaller than the smallest of its own, for tests of what is done with networks."""

from timm.models._registry import generate_default_cfgs, register_model
from timm.models.efficientnet import EfficientNet, _create_effnet, decode_arch_def

default_cfgs = generate_default_cfgs({
    "one_block.untrained": {
        "num_classes": 1000, "input_size": (3, 32, 32), "pool_size": (8, 8), "crop_pct": 0.875,
        "interpolation": "bicubic", "first_conv": "conv_stem", "classifier": "classifier", "license": "apache-2.0",
    },
})  # fmt: skip


@register_model
def one_block(pretrained=False, **kwargs) -> EfficientNet:
    """Build an EfficientNet of one inverted residual block: a dense kernel, a depthwise one, and three of one tap."""
    size = {"block_args": decode_arch_def([["ir_r1_k3_s2_e2_c8"]]), "stem_size": 8, "num_features": 16}
    return _create_effnet("one_block", pretrained, **size, **kwargs)
