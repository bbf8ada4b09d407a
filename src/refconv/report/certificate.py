"""The certificate of a merge in words: what the model in training and the plain network that is shipped share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refconv.measures.numbers import count, number, percent
from refconv.sentences import capital

SHOWN = 3
"""Differences that are named."""

SAME = "the same"


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        what: the thing.
        holds: whether it is as it should be; None where it was not checked.
        text: the result in a few words.
    """

    what: str
    holds: bool | None
    text: str


def checks(run: Mapping[str, Any] | None) -> tuple[Check, ...]:
    """Return what the certificate in a run's record says; nothing if there is none.

    Args:
        run: the record of a run as JSON.
    """
    found = (run or {}).get("certificate")
    if not found:
        return ()
    return (
        _keys(found),
        _equal("shapes", found["shapes"]),
        _equal("types of numbers", found["dtypes"]),
        _equal("classes of modules", found["classes"]),
        _equal("gradient flags", found["flags"]),
        *([_equal("values that are no tensors", found["values"])] if found.get("values") else []),
        Check(
            "kernels",
            found["largest_kernel_difference"] <= found["tolerance"],
            f"largest difference {number(found['largest_kernel_difference'])} over {count(found['kernels'], 'kernel')}",
        ),
        _outputs(found),
    )


def _keys(found: Mapping[str, Any]) -> Check:
    wrong = [*_named("missing", found["missing"]), *_named("surplus", found["surplus"])]
    if found["reordered"]:
        wrong.append("in another order")
    return Check("keys and their order", not wrong, "; ".join(wrong) or SAME)


def _equal(what: str, differing: Sequence[str]) -> Check:
    return Check(what, not differing, "; ".join(_named("different", differing)) or SAME)


def _outputs(found: Mapping[str, Any]) -> Check:
    relative = found["relative_output_difference"]
    if relative is None:
        return Check("outputs", None, "not compared")
    holds: bool | None = relative <= found["tolerance"]
    if holds and found.get("uncompared"):
        return Check("outputs", None, f"not all compared: {', '.join(found['uncompared'][:SHOWN])}")
    word = "identical" if relative == 0 else "equal to rounding" if holds else "different"
    numbers = f"largest relative difference {number(relative)}, tolerance {number(found['tolerance'], 2)}"
    on = f" on a batch of {found['batch']}" if found["batch"] else ""
    agreed = found["top1_agreement"]
    same = f"; the same class for {percent(agreed)} of it" if agreed is not None else ""
    return Check("outputs", holds, f"{word}{on}: {numbers}{same}")


def _named(word: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = ", ..." if len(names) > SHOWN else ""
    return [f"{len(names)} {word}: {', '.join(names[:SHOWN])}{more}"]


def summary(found: Sequence[Check]) -> str:
    """Return a certificate in a few words.

    Example:
        >>> summary([Check("keys", True, "the same"), Check("outputs", None, "not compared")])
        'holds, but not everything was checked'
    """
    if not found:
        return "none on record"
    if any(check.holds is False for check in found):
        return f"fails: {', '.join(check.what for check in found if check.holds is False)}"
    return "holds" if all(check.holds for check in found) else "holds, but not everything was checked"


def sentence(found: Sequence[Check]) -> str:
    """Return a certificate in full, what fails first.

    Example:
        >>> sentence([Check("keys", True, "the same"), Check("shapes", False, "1 different: a"), Check("b", True, "0")])
        'Shapes: 1 different: a. The same: keys. B: 0.'
    """
    if not found:
        return "The second model is not the result of a run of refconv, so nothing was certified."
    same = ", ".join(check.what for check in found if check.holds and check.text == SAME)
    parts = [f"{check.what}: {check.text}" for check in found if check.holds is False]
    parts += [f"the same: {same}"] if same else []
    parts += [f"{check.what}: {check.text}" for check in found if check.holds is not False and check.text != SAME]
    return " ".join(f"{capital(part)}." for part in parts)
