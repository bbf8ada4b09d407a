"""Channel redundancy: how alike the kernels of a layer's output channels are; the record and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from refconv.measures.judging import Change
from refconv.measures.layers import Direction, Quantity, Way, contrast_clause, contrast_of, course_clause, course_of
from refconv.measures.pairs import Measured
from refconv.measures.tables import LayerRecord, change, changed, sampled, table_of
from refconv.measures.verdict import REFCONV, Said, Verdict, claim
from refconv.records import Record
from refconv.sentences import capital


@dataclass(frozen=True)
class ChannelRedundancy(Record):
    """How alike the channels of one layer are; None where a layer has no two channels to compare."""

    #: mean Kullback-Leibler divergence over ordered pairs of sampled channels, in nats; 0 for equal kernels, larger for
    #: less redundant layers
    divergence: float | None
    scaled_divergence: float | None  #: the same with the layer's weights divided by their root mean square
    cosine: float | None  #: mean absolute cosine of the channels, 0 (orthogonal) to 1 (parallel), zeros left out
    #: exp(H) of the singular values of all slices of the layer [n, k] as shares of their sum, H their entropy (Roy and
    #: Vetterli, EUSIPCO 2007): 1 (all parallel) to min(n, k)
    effective_rank: float | None
    matrix: tuple[tuple[float, ...], ...]  #: divergences [shown, shown] between the first channels, in nats


@dataclass(frozen=True)
class LayerRedundancy(LayerRecord):
    """One layer's redundancy in two models."""

    channels: int  #: output channels of the layer
    sampled: int  #: how many of them were compared, the same ones in both models
    shown: tuple[int, ...]  #: which channels the matrices hold
    before: ChannelRedundancy
    after: ChannelRedundancy


@dataclass(frozen=True)
class Redundancy(Record):
    """Channel redundancy of two models: means over layers before and after, each layer counting once."""

    layers: tuple[LayerRedundancy, ...]
    divergence: tuple[float | None, float | None]
    scaled_divergence: tuple[float | None, float | None]
    cosine: tuple[float | None, float | None]
    effective_rank: tuple[float | None, float | None]
    less_redundant: float | None  #: share of layers whose divergence grew, 0 to 1
    less_redundant_scaled: float | None  #: share of layers whose scaled divergence grew
    seed: int  #: of the sample of channels

    def __str__(self) -> str:
        names = ("divergence", "scaled_divergence", "cosine", "effective_rank")
        means = ("mean over layers", "", "", *(change(*getattr(self, name)) for name in names))
        text = table_of(self.layers, "layer", "kind", sampled("channels"), *map(changed, names), below=[means])
        if self.less_redundant is None or self.less_redundant_scaled is None:
            return text
        return (
            f"{text}\nless redundant by divergence in {self.less_redundant:.0%} of layers, "
            f"apart from the weights' scale in {self.less_redundant_scaled:.0%}"
        )


DIVERGENCE = Quantity("divergence", "divergence", "nats")
SCALED = Quantity("scaled divergence", "scaled_divergence", "nats")
COSINE = Quantity("absolute cosine", "cosine")
RANK = Quantity("effective rank", "effective_rank")
_FREE: tuple[tuple[Quantity, Way], ...] = ((SCALED, "up"), (COSINE, "down"), (RANK, "up"))
"""The measures that scale does not touch, and where each goes in a layer that becomes less redundant."""

_READINGS: dict[tuple[Way, bool, bool], tuple[Change, str]] = {
    ("up", True, False): ("better", "divergence grew, and apart from scale the channels became less alike, too"),
    ("up", False, False): (
        "different",
        "divergence grew, but no measure free of scale shows channels less alike: the weights grew, and more is not "
        "to be seen",
    ),
    ("up", False, True): (
        "worse",
        "divergence grew with the weights, but apart from scale the channels became more alike",
    ),
    ("up", True, True): ("unclear", "divergence grew, but the measures free of scale disagree"),
    ("down", False, True): ("worse", "divergence shrank, and apart from scale the channels became more alike, too"),
    ("down", False, False): (
        "different",
        "divergence shrank, but no measure free of scale shows channels more alike: the weights shrank, and more is "
        "not to be seen",
    ),
    ("down", True, False): (
        "different",
        "divergence shrank with the weights, while apart from scale the channels became less alike",
    ),
    ("down", True, True): ("unclear", "divergence shrank, but the measures free of scale disagree"),
}
"""By where divergence went, whether a measure free of scale shows channels less alike, and whether one more alike."""


def reading(between: Callable[[Quantity], Direction]) -> tuple[Change, str]:
    """Return whether channels became less redundant, and a clause why.

    Divergence alone does not decide, as softmax sees scale: where it grew, one of the measures free of scale has to say
    the same and none the opposite, and the other way round. ``between`` tells which way a quantity went over layers.
    """
    way = between(DIVERGENCE).way
    if way == "unclear":
        return "unclear", "the divergence between channels shows no clear direction"
    if way == "same":
        return "same", "the divergence between channels stayed the same"
    less, more = _witnesses(between)
    return _READINGS[way, less, more]


def _witnesses(between: Callable[[Quantity], Direction]) -> tuple[bool, bool]:
    """Return whether a measure free of scale shows less redundancy, and whether one shows more."""
    ways = [(between(quantity).way, good) for quantity, good in _FREE]
    moved = [way == good for way, good in ways if way in {"up", "down"}]
    return any(moved), not all(moved)


def _reading(item: Measured) -> tuple[Change, str]:
    return reading(lambda quantity: course_of(item, quantity))


def _findings(item: Measured) -> Iterator[Said]:
    change, why = _reading(item)
    found = course_of(item, DIVERGENCE)
    if not found.layers:
        yield "No layer has two channels to compare.", change
    else:
        reason = "" if change in {"same", "unclear"} else f": {why}"
        yield f"{capital(course_clause(found, DIVERGENCE))}{reason}.", change, found.p
    free = {quantity: course_of(item, quantity) for quantity, _ in _FREE}
    less, more = _witnesses(free.__getitem__)
    change = "unclear"
    if less != more:
        change = "better" if less else "worse"
    elif all(way.way == "same" for way in free.values()):
        change = "same"
    yield f"Free of scale: {'; '.join(course_clause(way, quantity) for quantity, way in free.items())}.", change


def _contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    found = {one: contrast_of(subject, reference, one) for one in (DIVERGENCE, SCALED)}
    text = "; ".join(contrast_clause(way, one, reference.name) for one, way in found.items())
    yield f"Where {subject.name} ends, {text}.", _beside(subject, reference), found[DIVERGENCE].p


def _beside(subject: Measured, reference: Measured) -> Change:
    """Return whether one pair ends less redundant than another."""
    return reading(lambda quantity: contrast_of(subject, reference, quantity))[0]


REDUNDANCY = Verdict(
    "redundancy",
    _findings,
    _contrasts,
    lambda items: claim(
        "Refocusing makes channels less redundant: the divergence between their kernels grows.",
        REFCONV,
        items,
        _reading,
        _beside,
    ),
)
