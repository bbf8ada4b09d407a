"""Whether images are large enough for a network: none of its strides may skip over all there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from refconv.surgery import evaluating


@torch.no_grad()
def too_small(model: nn.Module, input_size: Sequence[int]) -> str | None:
    """Return a warning if images are so small that a layer of a network steps over all that it gets.

    That is where a layer with a stride gets a map of fewer values along an axis than its stride: it reduces nothing any
    more, and what follows looks at one place of the image. Such images are smaller than the network's total stride, by
    half or more. Networks of other input are not looked at.

    Args:
        model: a network of one tensor, which is left as it was.
        input_size: of a sample, [channels, height, width] or [channels, length].

    Example:
        >>> halves = [nn.Conv2d(1, 1, 3, stride=2, padding=1) for _ in range(3)]
        >>> too_small(nn.Sequential(*halves), [1, 3, 3])
        'warning: images of 3 x 3 are smaller than the total stride of the network: 1 of its 3 layers with a stride, \
first 2, gets a map of 1 x 1; give a larger --img-size'
        >>> too_small(nn.Sequential(*halves), [1, 8, 8]) is None
        True
    """
    found: dict[str, tuple[int, ...]] = {}
    strided = {name: module for name, module in model.named_modules() if max(_stride(module)) > 1}
    handles = [module.register_forward_pre_hook(_noting(name, found)) for name, module in strided.items()]
    place = next((parameter for parameter in model.parameters()), torch.zeros(()))
    try:
        with evaluating(model):
            model(torch.zeros(1, *input_size, device=place.device, dtype=place.dtype))
    except (RuntimeError, ValueError, TypeError, AssertionError, LookupError):
        return None  # what cannot be run at all is said by those who run it
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        return None
    (first, shape), count = next(iter(found.items())), len(found)
    sides, got = (" x ".join(map(str, lengths)) for lengths in (input_size[1:], shape))
    return (
        f"warning: images of {sides} are smaller than the total stride of the network: {count} of its {len(strided)} "
        f"layers with a stride, first {first}, {'gets' if count == 1 else 'get'} a map of {got}; give a larger "
        "--img-size"
    )


def _stride(module: nn.Module) -> tuple[int, ...]:
    stride = getattr(module, "stride", 1)
    if not isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.modules.pooling._MaxPoolNd)):
        return (1,)
    return tuple(stride) if isinstance(stride, (tuple, list)) else (int(stride),)


def _noting(name: str, found: dict[str, tuple[int, ...]]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """Return a hook that notes the shape that a layer is given, where its stride is longer."""

    def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        stride, dims = _stride(module), given[0].dim() - 2
        shape = tuple(given[0].shape[2:])
        if dims > 0 and any(1 < step > side for step, side in zip(stride * dims, shape, strict=False)):
            found.setdefault(name, shape)

    return hook
