"""The verdicts of all measures: what records say of pairs of models, with intervals and tests."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from refconv.measures.enough import weighed
from refconv.measures.findings import Judgement
from refconv.measures.pairs import Pair
from refconv.measures.registry import RECORDS
from refconv.measures.verdict import Verdict

VERDICTS: dict[str, Verdict] = {
    name: verdict
    for name, address in RECORDS.items()
    if (verdict := getattr(import_module(f"refconv.measures.{address.partition('.')[0]}"), name.upper(), None))
}
"""By the name of the measure, in the order of the page."""


def judgements(pairs: Sequence[Pair]) -> dict[str, Judgement]:
    """Return what the records of pairs of one start say, by measure; those on too few samples judge nothing."""
    found = {name: verdict(pairs) for name, verdict in VERDICTS.items()}
    return {
        name: weighed(judgement, pairs, (name, *VERDICTS[name].more)) or judgement
        for name, judgement in found.items()
        if judgement is not None
    }
