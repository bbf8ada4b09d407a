"""What measures say of pairs of models: findings, and verdicts on claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from refconv.records import Record

Change = Literal["better", "worse", "different", "same", "unclear"]
"""What a finding says: a change for the better or the worse, one that is neither, none, or that it cannot be told."""

Support = Literal["supported", "contradicted", "undecided"]
"""What a pair of models says of a claim."""


@dataclass(frozen=True)
class Finding(Record):
    """One thing that a measure says about one pair of models.

    Attributes:
        pair: the name of the pair.
        text: a sentence that makes sense by itself, with numbers and units.
        change: what kind of change that is.
        p: how often chance alone gives a difference as large, 0 to 1; None where nothing was tested.
    """

    pair: str
    text: str
    change: Change
    p: float | None = None


@dataclass(frozen=True)
class Claim(Record):
    """What a source claims of refocusing, and what each pair says to it.

    Attributes:
        says: the claim, in a sentence.
        source: who claims it.
        verdicts: per pair, whether it supports the claim, and a sentence why.
    """

    says: str
    source: str
    verdicts: dict[str, tuple[Support, str]]


@dataclass(frozen=True)
class Judgement(Record):
    """What a measure says of pairs of models.

    Attributes:
        findings: at least one per pair; the first of each pair is its headline.
        claim: what is claimed about the measure, where something is.
    """

    findings: tuple[Finding, ...]
    claim: Claim | None = None
