"""What pairs say to a claim about refocusing, seen beside plain training from the same start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from refconv.measures.findings import Change, Claim, Support
from refconv.measures.pairs import Measured

REFCONV = "RefConv (arXiv 2310.10563)"
JOURNAL = "RefConv, journal version (IEEE TNNLS 36(6), 2025)"

_ALONE = "not compared with plain training, as the report has no plain run from the same start"
_AGAINST: dict[Change, str] = {
    "better": "and it did better than plain training from the same start",
    "worse": "but plain training from the same start did better",
    "same": "but plain training from the same start gave as much",
    "unclear": "but as far as can be told plain training from the same start gave as much",
    "different": "but it is not clear whether that is more than plain training from the same start gave",
}


def claim(
    says: str,
    source: str,
    items: Sequence[Measured],
    change: Callable[[Measured], Change],
    words: Mapping[Change, str],
    against: Callable[[Measured, Measured], Change],
) -> Claim | None:
    """Return a claim and what each pair that is not plain training says to it; None if all are.

    Args:
        says: the claim.
        source: who claims it.
        items: the pairs with the record.
        change: what happened between before and after, `better` being what is claimed.
        words: each change as the beginning of a sentence.
        against: how the first of two pairs ended beside the second.
    """
    plain = next((item for item in items if item.plain), None)
    verdicts = {}
    for item in items:
        if not item.plain:
            beside = against(item, plain) if plain else None
            verdicts[item.name] = verdict(change(item), words, beside)
    return Claim(says, source, verdicts) if verdicts else None


def verdict(change: Change, words: Mapping[Change, str], beside: Change | None) -> tuple[Support, str]:
    """Return whether a change supports a claim, and a sentence why.

    A change for the better supports the claim only where the pair also ended better than plain training from the same
    start, by the same criterion: what plain training changes alike speaks for training, not for refocusing. A change
    for the worse contradicts it unless plain training ended worse still. Without plain training nothing is decided.

    Args:
        change: between before and after.
        words: each change as the beginning of a sentence.
        beside: how the pair ended beside plain training; None if there is none.

    Example:
        >>> verdict("better", {"better": "Accuracy rose"}, "same")
        ('undecided', 'Accuracy rose, but plain training from the same start gave as much.')
    """
    support: Support = "undecided"
    if change == "better" and beside == "better":
        support = "supported"
    elif change == "worse" and beside not in {None, "better"}:
        support = "contradicted"
    if beside is None:
        return support, f"{words[change]}; {_ALONE}."
    if change != "better":
        return support, f"{words[change]}; {_STOOD[beside]}."
    return support, f"{words[change]}, {_AGAINST[beside]}."


_STOOD: dict[Change, str] = {
    "better": "it still stands better than plain training from the same start",
    "worse": "plain training from the same start did better",
    "same": "plain training from the same start came to the same",
    "unclear": "no difference to plain training from the same start can be told",
    "different": "it differs from plain training from the same start",
}
