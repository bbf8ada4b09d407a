"""One training, done in both spaces: what the tests of the theorem share."""

from dataclasses import dataclass

import torch
from hypothesis import reject, strategies as st
from torch import nn

import refconv
from refconv.ops import gram, patches, scaling, shaped_patches

STEPS = 50
CONVOLUTIONS = {
    (1, False): nn.Conv1d,
    (2, False): nn.Conv2d,
    (3, False): nn.Conv3d,
    (1, True): nn.ConvTranspose1d,
    (2, True): nn.ConvTranspose2d,
    (3, True): nn.ConvTranspose3d,
}


@dataclass(frozen=True)
class Case:
    """A convolution, how it is refocused, and how it is trained."""

    dimensions: int = 2
    transposed: bool = False
    groups: int = 3
    outputs: int = 2
    inputs: int = 2
    kernel_size: tuple[int, ...] = (3, 3)
    dilation: int = 1
    order: str = "contiguous"
    map_size: int = 3
    scale: str = "capped"
    size: float = 1.0
    power: float = 1.0
    damping: float = 0.0
    start: str = "zeros"
    momentum: float = 0.9
    dampening: float = 0.0
    nesterov: bool = False
    maximize: bool = False
    weight_decay: float = 0.1
    rounds: int = 1
    seed: int = 0

    def model(self):
        torch.manual_seed(self.seed)
        convolution = CONVOLUTIONS[self.dimensions, self.transposed](
            self.groups * self.inputs,
            self.groups * self.outputs,
            self.kernel_size,
            groups=self.groups,
            dilation=self.dilation,
            padding=1,
        )
        with torch.no_grad():
            convolution.weight.mul_(self.size)
        return nn.Sequential(convolution, nn.Tanh()).double()

    def batch(self):
        torch.manual_seed(self.seed + 1)
        return torch.randn(2, self.groups * self.inputs, *[7] * self.dimensions, dtype=torch.float64)

    def geometry(self, first):
        return {
            "map_size": self.map_size,
            "order": self.order,
            "scale": self.scale,
            "power": self.power,
            "damping": self.damping,
            "start": self.start if first else "zeros",
        }

    def optimizer(self, kind, groups):
        return kind(
            groups,
            lr=0.02,
            momentum=self.momentum,
            dampening=self.dampening,
            nesterov=self.nesterov,
            maximize=self.maximize,
        )

    def in_kernel_space(self, clip=None):
        """Train refocus weights; return the merged model and the last round's refocus weight."""
        model, batch, momentum = self.model(), self.batch(), None
        for number in range(self.rounds):
            torch.manual_seed(self.seed)
            refconv.refocus(model, **self.geometry(first=number == 0))
            (weight,) = [p for p in model.parameters() if p.requires_grad and p.ndim == 3]
            bias = model[0].bias
            groups = [{"params": [bias]}, {"params": [weight], "weight_decay": self.weight_decay}]
            optimizer = self.optimizer(torch.optim.SGD, groups)
            if momentum is not None:  # a new round is one for the kernels only
                optimizer.state[bias]["momentum_buffer"] = momentum
            for _ in range(STEPS // self.rounds):
                step(model, batch, optimizer, clip)
            momentum = optimizer.state[bias].get("momentum_buffer")
            refconv.merge(model)
        return model, weight.detach()

    def in_gradient_space(self, kind=refconv.RefocusSGD, clip=None, decay="refocus", disturbance=0.0, **changes):
        """Train the plain kernel; return the model and the optimizer.

        ``disturbance`` is added to every entry of every gradient with a sign of its own, the same at each step, in
        units of the largest entry of that gradient.
        """
        model, batch = self.model(), self.batch()
        signs = [torch.randn_like(parameter).sign() for parameter in model.parameters()]
        torch.manual_seed(self.seed)
        settings = {**self.geometry(first=True), **changes}
        groups = refconv.param_groups(model, weight_decay=self.weight_decay, decay=decay, **settings)
        optimizer = self.optimizer(kind, groups)
        for number in range(self.rounds):
            if number:
                optimizer.rebase()
            for _ in range(STEPS // self.rounds):
                step(model, batch, optimizer, clip, [disturbance * sign for sign in signs])
        return model, optimizer

    def tolerance(self, undisturbed, clip=None):
        """Return how far rounding may drive the two spaces apart, relative to the largest entry of the kernel.

        In exact arithmetic the spaces agree, so what differs is rounding, in every gradient of the kernel and in the
        Gram that multiplies it. A sum of n products is off by at most n eps of the sum of their sizes, with n below
        the positions that a gradient sums over, plus m t + k of the products with P^T and P. Powers of a Gram come from
        eigenvalues that are off by eps of the largest one; relative to the largest entry of G^p that makes
        eps kappa^(1 - p) for p < 1, with kappa the ratio of the largest to the smallest eigenvalue that counts.

        What 50 steps make of it depends on the loss, the learning rate and the momentum, and is measured: training
        with gradients disturbed by a known share, far above rounding and far below where it stops being linear,
        ends so many times that share away. A systematic disturbance is used, which is the worst that steps can add.
        Trainings that blow up, so that the disturbance is seen in the third digit, say nothing and are not drawn.
        ``undisturbed`` is what :meth:`in_gradient_space` gives without it.
        """
        share = 1e-7
        model, optimizer = undisturbed
        disturbed, _ = self.in_gradient_space(clip=clip, disturbance=share)
        kernels = [trained[0].weight.detach() for trained in (model, disturbed)]
        apart = (kernels[1] - kernels[0]).abs().max() / kernels[0].abs().max()
        if apart >= 1e-3:
            reject()
        (geometry,) = optimizer._geometries.values()
        bases = [geometry.layout.to_blocks(base) for base in (self.model()[0].weight.detach(), optimizer.base("0"))]
        sizes = geometry.layout.slice_size, geometry.map_size
        unfolded = [shaped_patches(patches(blocks, *sizes), 1, self.damping) for blocks in bases]
        products = 2 * 9**self.dimensions + sum(unfolded[0].shape[1:])
        rounding = products * torch.finfo(torch.float64).eps * max(map(self.spread, unfolded))
        return float(rounding * (apart / share).clamp(min=1))

    def weight_tolerance(self, trained, weight):
        """Return how far a refocus weight recovered from the kernel may be from the one trained, [b, 1, 1] per block.

        With P' = P G^((p - 1) / 2), the recovered weight is R = c_A D P'^+ of the displacement D = kernel - base,
        computed as c_A D G^(-(p + 1) / 2) P^T. Let s and S be the smallest and largest singular values of P that count,
        and kappa = S / s, so that P'^+ has norm s^-p, or S^-p for p below zero. With damping, P is P~. Three things are
        off:

        * D, by the tolerance tau of the kernels (:meth:`tolerance`) an entry, hence R by c_A sqrt(k) tau / s^p a row.
        * The computed Gram, by n eps S^2, with n the m t products that it sums, k of the eigenvectors and STEPS
          roundings of R itself. An eigenvalue is then off by kappa^2 n eps of itself at most, its power by (p + 1) / 2
          times that, and with it R, for p up to 2. Pairs of unequal eigenvalues add no more.
        * After a new round, the bases of the two spaces, by tau an entry, so that P is off by sqrt(m t k) tau and D by
          tau once more. To first order R moves by |R| |dP'| / s^p, with |dP'| at most s^(p - 1) |dP| for p below one,
          and p S^(p - 1) |dP| above, kappa^-p times more for p below zero. c_A moves by no larger a share.

        Args:
            trained: what :meth:`in_gradient_space` gives.
            weight: the refocus weight that kernel space trained.
        """
        model, optimizer = trained
        (geometry,) = optimizer._geometries.values()
        sizes = geometry.layout.slice_size, geometry.map_size
        blocks = geometry.layout.to_blocks(optimizer.base("0"))
        unfolded = shaped_patches(patches(blocks, *sizes), 1, self.damping)
        rows, k = unfolded.shape[1:]
        largest, smallest = (value[:, None, None] for value in singular_values(unfolded))
        condition = largest / smallest
        norm = weight.square().sum(-1, keepdim=True).amax(1, keepdim=True).sqrt()
        tau = self.tolerance(trained) * max(model[0].weight.abs().max().item(), 1.0)
        sign = scaling(blocks, *sizes, scale=self.scale, power=self.power, damping=self.damping).sign
        least = smallest**self.power if self.power > 0 else largest**self.power
        bound = sign * k**0.5 * tau / least
        bound += (self.power + 1) / 2 * (rows + k + STEPS) * torch.finfo(weight.dtype).eps * condition**2 * norm
        if self.rounds > 1:
            steeper = max(self.power, 1) * condition ** max(self.power - 1, -self.power, 0)
            bound += sign * k**0.5 * tau / least + 2 * steeper * norm * (rows * k) ** 0.5 * tau / smallest
        return bound

    def spread(self, unfolded):
        """Return kappa^(1 - p) for patches P, or 1 for powers p of at least one."""
        if self.power >= 1:
            return 1.0
        largest, smallest = singular_values(unfolded)
        return float((largest / smallest).square().max() ** (1 - self.power))


def singular_values(unfolded):
    """Return the largest singular value [b] of patches P [b, m * t, k], and the smallest that counts."""
    values = torch.linalg.eigvalsh(gram(unfolded))
    largest = values.amax(-1, keepdim=True)
    counting = values > largest * values.shape[-1] * torch.finfo(values.dtype).eps
    return largest[:, 0].sqrt(), torch.where(counting, values, largest).amin(-1).sqrt()


def step(model, batch, optimizer, clip=None, disturbances=None):
    optimizer.zero_grad()
    (model(batch) - 0.3).square().mean().backward()
    for parameter, disturbance in zip(model.parameters(), disturbances or (), strict=disturbances is not None):
        parameter.grad += disturbance * parameter.grad.abs().max()
    if clip and isinstance(optimizer, refconv.RefocusSGD):
        optimizer.clip_grad_norm_(clip)
    elif clip:
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], clip)
    optimizer.step()


@st.composite
def cases(draw):
    dimensions = draw(st.integers(1, 3))
    taps = st.integers(1, 4 if dimensions < 3 else 3)
    momentum = draw(st.sampled_from([0.0, 0.9]))
    nesterov = momentum > 0 and draw(st.booleans())
    power, damping = draw(st.sampled_from([(0, 0), (0.5, 0), (1, 0), (1, 0), (2, 0), (1, 0.3), (-0.5, 0.3), (-1, 0.3)]))
    return Case(
        dimensions=dimensions,
        transposed=draw(st.booleans()),
        groups=draw(st.integers(1, 4)),
        outputs=draw(st.integers(1, 3)),
        inputs=draw(st.integers(1, 2)),
        kernel_size=(*(draw(taps) for _ in range(dimensions - 1)), draw(st.integers(2, 4))),
        dilation=draw(st.integers(1, 2)),
        order=draw(st.sampled_from(["contiguous", "across", "layer", "filters"])),
        map_size=draw(st.sampled_from([1, 3, 5])),
        scale=draw(st.sampled_from(["capped", "capped", "normalized", "paper"])),
        size=draw(st.sampled_from([1.0, 1.0, 4.0])),
        power=power,
        damping=damping,
        start=draw(st.sampled_from(["zeros", "zeros", "kaiming"])),
        momentum=momentum,
        dampening=0.0 if nesterov else draw(st.sampled_from([0.0, 0.3])),
        nesterov=nesterov,
        maximize=draw(st.booleans()),
        weight_decay=draw(st.sampled_from([0.0, 0.1])),
        rounds=draw(st.integers(1, 3)),
        seed=draw(st.integers(0, 2**16)),
    )
