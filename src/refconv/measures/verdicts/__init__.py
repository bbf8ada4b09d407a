"""The verdicts of measures, a file each: what records say of pairs of models, with intervals and tests."""

from collections.abc import Sequence

from refconv.measures.enough import weighed
from refconv.measures.findings import Judgement
from refconv.measures.pairs import Pair
from refconv.measures.verdicts import (
    agreement,
    attacks,
    attention,
    calibration,
    components,
    corruptions,
    curvature,
    filters,
    gaussians,
    interpolation,
    kernels,
    landscape,
    movement,
    receptive_field,
    redundancy,
    relations,
    scores,
    sharpness,
    shifts,
    similarity,
    skeleton,
    spectrum,
)
from refconv.measures.verdicts.verdict import Verdict

VERDICTS: dict[str, Verdict] = {
    module.VERDICT.name: module.VERDICT
    for module in (
        redundancy,
        skeleton,
        filters,
        components,
        gaussians,
        movement,
        relations,
        spectrum,
        kernels,
        scores,
        agreement,
        calibration,
        similarity,
        attention,
        receptive_field,
        interpolation,
        landscape,
        sharpness,
        curvature,
        attacks,
        corruptions,
        shifts,
    )
}
"""By the name of the measure, in the order of the page."""


def judgements(pairs: Sequence[Pair]) -> dict[str, Judgement]:
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
