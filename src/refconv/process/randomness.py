"""Randomness that is a function of names and counters, such as (seed, epoch, index), never of what was drawn before.

Exact resumption rests on this: a run can start anywhere and no generator's state needs to be stored.
"""

from __future__ import annotations

import hashlib
import operator
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

# Constants of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2**63) that depends on the parts and their order alone, on every machine."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        encoded = (f"s{part}" if isinstance(part, str) else f"i{operator.index(part)}").encode()
        # The length keeps ("ab", "c") and ("a", "bc") apart.
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return int.from_bytes(digest.digest(), "little") >> 1


def hashes(seed: int, epoch: int, indices: Tensor) -> Tensor:
    """Return one 64-bit hash per sample index [n], int64 [n], each a function of (seed, epoch, index) alone."""
    return _mixed((indices + 1) * _GOLDEN + derive_seed("hashes", seed, epoch))


def uniforms(seed: int, epoch: int, indices: Tensor, draws: int) -> Tensor:
    """Return uniform numbers in [0, 1), float32 [n, draws], each a function of (seed, epoch, index, draw) alone."""
    counters = torch.arange(1, draws + 1, dtype=torch.int64) * _GOLDEN
    bits = _mixed(hashes(seed, epoch, indices)[:, None] + counters)
    # The upper 24 bits fill the significand of a float32 exactly, so 1.0 cannot come out by rounding.
    return ((bits >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (all devices)."""
    _seed_cpu(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the CPU generators of Python, NumPy and torch for one block, then put them back as they were."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    _seed_cpu(seed)  # no accelerator, which is not put back
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def seed_numpy(seed: int) -> None:
    """Seed NumPy's global generator."""
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])  # the 32-bit words that it takes


def _seed_cpu(seed: int) -> None:
    random.seed(seed)
    seed_numpy(seed)
    # Not torch.manual_seed: while an accelerator sleeps, that formats a stack trace at every call, 0.3 ms. One that
    # sleeps has drawn nothing; it is seeded again before it draws.
    torch.default_generator.manual_seed(seed)


def _mixed(state: Tensor) -> Tensor:
    """Apply the finaliser of splitmix64; int64 products wrap, and shifts are made logical by a mask."""
    state = (state ^ ((state >> 30) & (2**34 - 1))) * _MIX_1
    state = (state ^ ((state >> 27) & (2**37 - 1))) * _MIX_2
    return state ^ ((state >> 31) & (2**33 - 1))
