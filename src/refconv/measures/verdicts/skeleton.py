"""How much of the kernels' magnitude lies on their central cross."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.direction import as_change, negligible
from refconv.measures.findings import Change, Claim, Finding
from refconv.measures.layer_findings import contrast_finding, course_finding
from refconv.measures.layers import Quantity, contrast_of, course_of, field
from refconv.measures.numbers import count, percent
from refconv.measures.pairs import Measured
from refconv.measures.support import JOURNAL, verdict
from refconv.measures.verdicts.planes import times
from refconv.measures.verdicts.verdict import Verdict
from refconv.measures.wording import course

RATIO = Quantity("ratio of cross to corners", field("ratio"))

_WORDS: dict[Change, str] = {
    "better": "The ratio of cross to corners grew",
    "worse": "The ratio of cross to corners shrank",
    "same": "The ratio of cross to corners stayed the same",
    "unclear": "The ratio of cross to corners shows no clear direction over the layers",
}


def _claim(items: Sequence[Measured]) -> Claim | None:
    plain = next((item for item in items if item.plain), None)
    verdicts = {}
    for item in items:
        if not item.plain:
            beside = as_change(contrast_of(item, plain, RATIO).way, "up") if plain else None
            verdicts[item.name] = verdict(as_change(course_of(item, RATIO).way, "up"), _WORDS, beside)
    says = "Refocusing strengthens skeletons: the ratio of cross to corners grows."
    return Claim(says, JOURNAL, verdicts) if verdicts else None


def _by_size(item: Measured) -> list[Finding]:
    """Say where the mean magnitudes of the most frequent kernel size lie; nothing if it is all cross."""
    rows = [row for row in item.record.sizes if row.before.corners is not None]
    if not rows:
        return []
    row = rows[0]
    flat = _flat_share(row)
    first, last = row.before.cross_share, row.after.cross_share
    change: Change = "same" if negligible(first, last) else "different"
    text = (
        f"In {count(row.layers, 'layer')} of {times(row.kernel_size)} taps the share of magnitude on the cross "
        f"{course(percent, first, last)}; a flat kernel has {percent(flat)}."
    )
    return [Finding(item.name, text, change)]


def _flat_share(row: Any) -> float:
    """Return the share of taps on the cross, from the means over cross and corners and the cross' share."""
    cross, corners, share = (row.before.cross, row.before.corners, row.before.cross_share)
    taps = len(row.before.magnitudes)
    total = sum(row.before.magnitudes)
    return round(share * total / cross) / taps if corners is not None and cross else 1.0


VERDICT = Verdict(
    "skeleton",
    findings=lambda item: (course_finding(item, RATIO, "up"), *_by_size(item)),
    contrasts=lambda subject, reference: (contrast_finding(subject, reference, RATIO, "up"),),
    claim=_claim,
)
