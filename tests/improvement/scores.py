"""Scores as evaluations would give them."""

import random

from refconv.improvement.record import Candidate
from refconv.improvement.scoring import Score


def of_hits(hits, losses=None):
    text = "".join("1" if hit else "0" for hit in hits)
    losses = tuple(0.0 if hit else 1.0 for hit in hits) if losses is None else tuple(losses)
    return Score("top1", sum(hits) / len(hits), len(hits), sum(losses) / len(losses), text, losses)


def with_share(share, n=1000, seed=0, loss=0.5):
    """Return hits of a share of the samples, at places drawn by the seed."""
    places = set(random.Random(seed).sample(range(n), round(share * n)))
    return of_hits([i in places for i in range(n)], [loss] * n)


def candidate(name, score, complexity=0.0, kind="average"):
    return Candidate(name, () if kind == "base" else (name,), kind, complexity, name.startswith("refocus"), score)
