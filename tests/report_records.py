"""Records of one's own choosing, as an analysis leaves them, for sentences that depend on the numbers."""

import base64
import json
import math
from dataclasses import fields, replace

from refconv.analysis.measures.landscape import spread
from refconv.analysis.measures.outputs import mcnemar
from refconv.measures.agreement import Agreement, Calibration, ChangedSample, ClassAgreement, ReliabilityBin
from refconv.measures.features import AttendedImage, Attention, LayerSimilarity, ReceptiveField, Similarity
from refconv.measures.landscape import Conditions, Interpolation, LossLine, LossSurface, ModelLine, ModelSurface
from refconv.measures.pairs import ModelPair
from refconv.measures.robustness import AdversarialRobustness, CorruptionRobustness, Curve, ShiftConsistency
from refconv.measures.scores import Scores
from refconv.measures.sharpness import Curvature, ModelSharpness, Sharpness
from refconv.records import Record

CONDITIONS = Conditions(samples=1024, cut=True, calibration_samples=512, calibration_cut=False, norms=3)
CLASSES = ("ant", "bee")


def pair(name="refocus", method="refocus", fingerprint="f0", **records):
    """A pair with records; those of two models are given as tuples."""
    found = {}
    for key, record in records.items():
        sides = {f"{key}-before": record[0], f"{key}-after": record[1]} if isinstance(record, tuple) else {key: record}
        found.update({place: json.loads(one.to_json()) for place, one in sides.items()})
    facts = {
        "before": {"reference": "start", "method": None, "run": None, "fingerprint": fingerprint},
        "after": {"reference": name, "method": method, "run": None, "fingerprint": name},
        "task": "classification",
        "class_names": list(CLASSES),
        "left_out": {},
    }
    return ModelPair(name, facts, found)


def plain(**records):
    """A pair of plain training."""
    return pair("plain", "plain", **records)


def unmoved(other):
    """A pair of plain training that changed nothing of the start of another pair."""

    def start(record):
        if isinstance(record, tuple):
            return tuple(start(one) for one in record)
        if not isinstance(record, Record):
            return record
        found = {field.name: start(getattr(record, field.name)) for field in fields(record)}
        if {"before", "after"} <= found.keys():
            found["after"] = found["before"]
        return replace(record, **found)

    records = {name: start(record) for name, record in other.records.items()}
    for name in records:
        if name.endswith("-after"):
            records[name] = records[name.replace("-after", "-before")]
    facts = replace(other.facts, after=replace(other.facts.after, reference="plain", method="plain"))
    return ModelPair("plain", facts, records)


def agreement(gained, lost, *, both=60, neither=40, listed=1.0, places=None):
    """Samples 0, 1, ... of which the first `gained` became right, the next `lost` wrong, or those at `places`."""
    won, fell = places or (range(gained), range(gained, gained + lost))
    changed = [ChangedSample(place, target=0, before=1, after=0) for place in won]
    changed += [ChangedSample(place, target=0, before=0, after=1) for place in fell]
    samples = both + gained + lost + neither
    rows = (
        ClassAgreement(0, samples - 20, both - 10 + lost, both - 10 + gained, gained, lost),
        ClassAgreement(1, 20, 10, 10, 0, 0),
    )
    same = 1 - (gained + lost) / samples
    return Agreement(
        samples, False, both, gained, lost, neither, same, mcnemar(gained, lost), rows, tuple(changed), listed
    )


def calibration(gap, samples=10000, accuracy=0.8):
    """A model whose confidence lies `gap` above its accuracy, in the second of two bins; the first is empty."""
    full = ReliabilityBin(0.5, 1.0, samples, accuracy + gap, accuracy)
    empty = ReliabilityBin(0.0, 0.5, 0, None, None)
    confidence = accuracy + gap
    return Calibration(samples, False, (empty, full), abs(gap), abs(gap), 0.5 + gap, 0.3, accuracy, confidence)


def similarity(*values):
    """CKA of layers a, b, ...; None where a layer's features are constant."""
    names = tuple("abcdefghij"[: len(values)])
    known = [value for value in values if value is not None]
    matrix = tuple(tuple(value if i == j else 0.1 for j in range(len(values))) for i, value in enumerate(values))
    rows = tuple(map(LayerSimilarity, names, values))
    return Similarity(64, False, rows, sum(known) / len(known) if known else None, names, matrix, {})


def receptive_field(*radii, shape=(4, 4), size=8):
    """A field with radii of 50, 90 and 99 % of the energy on a map of the shape."""
    total = 1
    for length in shape:
        total *= length
    sizes, half = (size,) * len(shape), tuple(length // 2 for length in shape)
    values = tuple(place / total for place in range(total))
    return ReceptiveField(
        layer="last",
        map_shape=shape,
        unit=half,
        input_shape=sizes,
        samples=8,
        cut=False,
        shares=(0.5, 0.9, 0.99),
        radii=radii,
        centre=tuple(map(float, half)),
        side=4.0,
        extent=tuple(length - 1 for length in sizes),
        values=values,
        values_shape=shape,
    )


def interpolation(*losses):
    """Losses at equal steps from before to after."""
    last = len(losses) - 1
    shares = tuple(place / last for place in range(last + 1))
    barrier = None
    if None not in losses:
        barrier = max(loss - ((1 - t) * losses[0] + t * losses[-1]) for t, loss in zip(shares, losses, strict=True))
    return Interpolation(shares, losses, losses[0], losses[-1], barrier, CONDITIONS)


def line(before, after):
    """A line of losses, an odd number of them per model."""
    half = len(before) // 2
    distances = tuple(place / half for place in range(-half, half + 1))
    sides = (ModelLine(math.nan if losses[half] is None else losses[half], losses) for losses in (before, after))
    return LossLine(distances, *sides, CONDITIONS, seed=0)


def surface(before, after):
    """A plane of 3 x 3 losses per model: one number in the middle, another all around."""

    def model(middle, around):
        rows = ((around,) * 3, (around, middle, around), (around,) * 3)
        return ModelSurface(middle, rows)

    return LossSurface((-1.0, 0.0, 1.0), model(*before), model(*after), CONDITIONS, seed=0)


def sharpness(before, after, *, radius=0.1, seed=0):
    """Rises along as many directions."""
    differences = [second - first for first, second in zip(before, after, strict=True)]
    sides = [ModelSharpness(0.4, 0.5, spread(rises)) for rises in (before, after)]
    return Sharpness(radius, *sides, spread(differences), CONDITIONS, seed)


def curvature(*eigenvalues, trace=None, errors=0.01, smallest=0.0, units="filters", converged=True, seed=0):
    """Eigenvalues, the largest first, and the numbers that the trace is the mean of."""
    return Curvature(
        loss=0.4,
        eigenvalues=eigenvalues,
        errors=(errors,) * len(eigenvalues),
        smallest=smallest,
        smallest_error=0.0,
        converged=converged,
        steps=10,
        trace=spread(trace) if trace else None,
        units=units,
        dimension=100,
        samples=512,
        cut=False,
        seed=seed,
    )


def curve(kind, *accuracy, strengths=None):
    """Accuracy at strength 0 and above."""
    places = strengths or tuple(map(float, range(len(accuracy))))
    return Curve(kind, places, accuracy, sum(accuracy[1:]) / (len(accuracy) - 1))


def attacks(*pgd, fgsm=None, samples=1000):
    """Accuracy under PGD without attack, at 1 / 255, at 2 / 255, ..., and under FGSM."""
    radii = tuple(place / 255 for place in range(len(pgd)))
    curves = tuple(curve(kind, *values, strengths=radii) for kind, values in (("fgsm", fgsm or pgd), ("pgd", pgd)))
    return AdversarialRobustness(samples, False, 10, curves)


def corruptions(samples=1000, left_out=None, **kinds):
    """Accuracy per kind at strength 0 and above."""
    curves = tuple(curve(kind, *values) for kind, values in kinds.items())
    mean = sum(one.mean for one in curves) / len(curves)
    return CorruptionRobustness(samples, False, "CIFAR-10-C", curves, mean, left_out or {})


def shifts(*same, accuracy=0.8, samples=2000):
    """Shares that keep the class at 1, 2, ... pixels."""
    pixels = tuple(range(1, len(same) + 1))
    stable = tuple(share**2 for share in same)
    return ShiftConsistency(samples, False, pixels, same, stable, (accuracy,) * len(same), accuracy)


def attention(*maps, layer="last"):
    """An image of class 1 for each two maps, before and after, each a row of values; after names class 0."""
    pixels = base64.b64encode(bytes(range(12))).decode()
    shown = tuple(
        AttendedImage(7 + place, 1, 1, 0, 0.75, 0.5, pixels, (2, 2, 3), (tuple(first),), (tuple(second),))
        for place, (first, second) in enumerate(maps)
    )
    return Attention(16, False, layer, layer, shown, seed=0)


def scores(task="detection", samples=400, cut=False, classes=None, **measures):
    return Scores(task, samples, cut, measures, classes or {})
