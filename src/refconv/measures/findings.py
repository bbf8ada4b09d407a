"""What measures say of pairs of models: findings, and verdicts on claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from refconv.records import Record

Change = Literal["better", "worse", "different", "same", "unclear"]
"""What a finding says: a change for the better or the worse, one that is neither, none, or that it cannot be told."""

Support = Literal["supported", "contradicted", "undecided"]  #: What a pair of models says of a claim


@dataclass(frozen=True)
class Finding(Record):
    """One sentence on one pair of models; ``p``: how often chance alone gives such a difference, None if not tested."""

    pair: str
    text: str
    change: Change
    p: float | None = None


@dataclass(frozen=True)
class Claim(Record):
    """What a source claims of refocusing, and per pair whether it supports the claim, with a sentence why."""

    says: str
    source: str
    verdicts: dict[str, tuple[Support, str]]


@dataclass(frozen=True)
class Judgement(Record):
    """What a measure says: at least one finding per pair, the headline first, and the claim on it, if there is one."""

    findings: tuple[Finding, ...]
    claim: Claim | None = None
