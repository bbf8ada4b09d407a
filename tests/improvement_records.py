"""Scores, candidates and the record of an improvement, as evaluations would give them."""

import random

from torch import nn

from refconv.improvement.halving import Round
from refconv.improvement.record import Candidate, Entry, FinalScores, ImproveRecord, SearchPlan, Tried
from refconv.improvement.scoring import Score, difference
from refconv.improvement.verdict import verdict
from refconv.surgery import verify


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


def record(kind="average", refocused=0.9, unrefocused=0.88):
    """Return the record of an improvement of 1,000 samples."""
    base, plain, other = with_share(0.8), with_share(unrefocused, seed=1), with_share(refocused, seed=2)
    candidates = (
        candidate("the network as it was", base, -1, "base"),
        candidate("plain lr 0.01", plain),
        candidate("refocus lr 0.03", other, 2),
    )
    winner = candidates[0] if kind == "base" else candidates[2]
    tested = FinalScores("test", base, winner.score, plain, other)
    entries = (Entry("plain", "continued training", 0.01), Entry("refocus", "refocusing", 0.03))
    plan = SearchPlan(
        recipe={"task": "classification", "data": "digits"}, teacher=None, contenders=(), budget="9 epochs",
        samples=900,
        entries=entries, rounds=(Round(2, 10),), steps_per_epoch=5, excluded={"plain-taught": "no teacher"},
        step_ms={"plain": 5.0, "refocus": 5.1}, memory_mb={}, seconds=1.0, train_samples=100, base=base,
        base_tested=base,
    )  # fmt: skip
    layer = nn.Conv2d(1, 2, 3)
    return ImproveRecord(
        model="m:net", task="classification", verdict=verdict(winner, tested, "classification"), plan=plan,
        tried=(Tried(1, entries[0], 10, plain.value, 0.5), Tried(1, entries[1], 10, None, message="boom")),
        candidates=candidates, winner=winner.name, unrefocused="plain lr 0.01", refocused="refocus lr 0.03",
        tested=tested, gain=difference(base, winner.score), refocusing=difference(plain, other),
        certificate=verify(layer, layer, None), samples_seen=880, seconds=12.0, preprocessing="L, 8 x 8 px",
        hardware="a machine", versions={"torch": "2.9"}, command="refconv improve",
    )  # fmt: skip
