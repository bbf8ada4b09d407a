"""The verdicts of measures, a file each: what records say of pairs of models, with intervals and tests."""

from collections.abc import Sequence
from importlib import import_module

from refconv.measures.enough import weighed
from refconv.measures.findings import Judgement
from refconv.measures.pairs import ModelPair
from refconv.measures.registry import RECORDS
from refconv.measures.verdicts.verdict import Verdict

READ_WITH = {"surface": "landscape"}
"""Records that have no verdict of their own, by the measure that reads them."""

VERDICTS: dict[str, Verdict] = {
    name: import_module(f"refconv.measures.verdicts.{name}").VERDICT for name in RECORDS if name not in READ_WITH
}
"""By the name of the measure, in the order of the page."""


def judgements(pairs: Sequence[ModelPair]) -> dict[str, Judgement]:
    """Return what the records of pairs say, by measure; those on too few samples judge nothing.

    Args:
        pairs: one or more, of one start.
    """
    found = {name: verdict(pairs) for name, verdict in VERDICTS.items()}
    return {
        name: weighed(judgement, pairs, (name, *VERDICTS[name].more)) or judgement
        for name, judgement in found.items()
        if judgement is not None
    }
