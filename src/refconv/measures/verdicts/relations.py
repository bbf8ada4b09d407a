"""Which channels' kernels refocusing draws on: the refocus weight that leads from the start to the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.findings import Change, Finding
from refconv.measures.layer_findings import contrast_finding
from refconv.measures.layers import Quantity, field, means
from refconv.measures.numbers import count, number, percent
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.verdict import Verdict

_ROUNDING = 1e-9


def among_others(row: Any) -> float | None:
    """Return the share that slices draw from others; None where they meet none."""
    return 1 - row.own if row.own is not None and row.slices > 1 else None


def _residual(row: Any) -> float | None:
    """Return the part out of reach, without what is rounding."""
    value: float | None = row.residual
    return 0.0 if value is not None and value < _ROUNDING else value


RESIDUAL = Quantity("part out of reach", _residual, sides=False, show=percent)

OTHERS = Quantity("share drawn from other slices", among_others, sides=False, show=percent)

PARTNERS = Quantity("number of partners of a slice", field("partners"), sides=False)


def shown(items: Sequence[Measured]) -> tuple[Quantity, ...]:
    """Return the quantities that mean something for these pairs."""
    meet = any(row.slices > 1 for item in items for row in item.record.layers)
    return (OTHERS, PARTNERS, RESIDUAL) if meet else (RESIDUAL,)


def _headline(item: Measured) -> Finding:
    record = item.record
    rows = record.layers
    if not any(row.norm for row in rows):
        return Finding(item.name, "Nothing moved that refocusing could reach: no slice draws on any.", "same")
    own, even = record.own, record.own_if_even
    if own is None or even is None:
        text = "In none of the layers that moved do slices meet others, so that each draws on itself alone."
        return Finding(item.name, text, "different")
    partners = means([item], PARTNERS)[item.name]
    meeting = sum(among_others(row) is not None for row in rows)
    text = (
        f"In {count(meeting, 'layer')} where slices meet others they draw {percent(1 - own)} of the refocus weight "
        f"from them ({percent(1 - even)} if they drew on all alike)"
    )
    text += f", on {number(partners)} of them in effect" if partners is not None else ""
    return Finding(item.name, f"{text}.", "different")


def _reach(item: Measured) -> list[Finding]:
    residual = item.record.residual
    if residual is None:
        return []
    moved = sum(row.residual is not None for row in item.record.layers)
    change: Change = "different"
    mean = f", the mean of {moved} layers" if moved > 1 else ""
    if residual < _ROUNDING:
        return [Finding(item.name, "Refocusing from this start can reach all of the change.", change)]
    text = f"Refocusing from this start cannot reach {percent(residual)} of the length of the change{mean}."
    return [Finding(item.name, text, change)]


VERDICT = Verdict(
    "relations",
    findings=lambda item: (_headline(item), *_reach(item)),
    contrasts=lambda subject, reference: (contrast_finding(subject, reference, shown([subject, reference])[0]),),
)
