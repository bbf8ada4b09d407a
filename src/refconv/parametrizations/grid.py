"""The taps of a kernel as points of a grid, for transformations that work with real positions.

Coordinates count taps from the centre of the kernel, so that weight decay on a position pulls there and not into a
corner. Dimensions of a single tap have nowhere to move to and are left out: no number is trained that could not act.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refconv.ops import Layout


def spread(layout: Layout) -> tuple[int, ...]:
    """Return the taps of those dimensions that have more than one."""
    return tuple(taps for taps in layout.kernel_size if taps > 1)


def tap_axis(taps: int, like: Tensor) -> Tensor:
    """Return the coordinates [taps] along one dimension, from -(taps - 1) / 2 to (taps - 1) / 2.

    Args:
        taps: how many there are.
        like: a tensor of the dtype and on the device that are wanted.
    """
    return torch.arange(taps, dtype=like.dtype, device=like.device) - (taps - 1) / 2


def tap_grid(layout: Layout, like: Tensor) -> Tensor:
    """Return the coordinates [k, d] of all taps, for d dimensions of more than one tap.

    Args:
        layout: the kernel's.
        like: a tensor of the dtype and on the device that are wanted.

    Example:
        >>> layout = Layout(groups=1, out_per_group=1, in_per_group=1, kernel_size=(2, 1, 2))
        >>> tap_grid(layout, torch.zeros(())).tolist()
        [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]
    """
    axes = [tap_axis(taps, like) for taps in spread(layout)]
    if not axes:
        return torch.zeros(1, 0, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


@torch.no_grad()
def scatter(positions: Tensor, layout: Layout) -> None:
    """Fill positions [..., d] with points drawn uniformly between the corners of the grid."""
    positions.uniform_(-0.5, 0.5)
    positions.mul_(torch.tensor([taps - 1 for taps in spread(layout)], dtype=positions.dtype, device=positions.device))
