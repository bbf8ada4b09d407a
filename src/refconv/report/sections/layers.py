"""Sections on the weights of every layer: redundancy of channels, quality of filters, fits of Gaussians, movement."""

from __future__ import annotations

from collections.abc import Iterator

from refconv.measures.filters import ENTROPY, FITTING, ORTHOGONALITY, RESIDUAL as FIT_RESIDUAL, named, times_text
from refconv.measures.layers import RULE, Quantity, kinds, row_of, rows_of, values
from refconv.measures.numbers import count, number, percent, times
from refconv.measures.pairs import BEFORE, Measured, Role, role_names
from refconv.measures.redundancy import COSINE, DIVERGENCE, RANK, SCALED
from refconv.measures.refocusing import ALIGNMENT, RELATIVE
from refconv.report.charts import Guide, Heat, heat_maps
from refconv.report.elements import Figure, Items, Spec
from refconv.report.sections.figures import bar_figure, figure, layer_figure, pictured_note, spread

_REDUNDANCY = {
    DIVERGENCE: "Mean Kullback-Leibler divergence between channels, as RefConv measures redundancy: larger is less "
    "redundant. It also grows when weights merely grow.",
    SCALED: "The same after every layer's weights are divided by their root mean square: it sees patterns, not scale.",
    COSINE: "Mean absolute cosine between channels, 0 to 1: smaller is less redundant.",
    RANK: "Effective number of directions that a layer's slices span, from 1 to the number of taps: larger is less "
    "redundant.",
}


def _redundancy(items: Items) -> Iterator[Figure]:
    yield from (layer_figure(items, one, text) for one, text in _REDUNDANCY.items())
    of_all = values(items, DIVERGENCE)
    drawn = [layer for layer in kinds(items) if any(value is not None for value in of_all[layer].values())]
    yield from (_divergences(items, layer) for layer in spread(drawn))


def _divergences(items: Items, layer: str) -> Figure:
    """Return the divergences between a sample of channels."""
    found = rows_of(items, layer)
    row = found[0][1]
    sides = [(BEFORE, row.before), *((item.name, row.after) for item, row in found)]
    heats, shown = [Heat(name, side.matrix) for name, side in sides], len(row.shown)
    means = ", ".join(f"{name} {number(side.divergence)}" for name, side in sides)
    return figure(
        heat_maps(heats, unit="nats", x_label="channel j", y_label="channel i", low=0),
        alt=f"Divergence between {count(shown, 'channel')} of {layer}, a matrix per model. Mean over "
        f"{count(row.sampled, 'channel')}: {means} nats.",
        caption=f"Kullback-Leibler divergence from channel i to channel j of {layer}, {shown} of "
        f"{count(row.channels, 'channel')}, one scale for all; 0 is between equal kernels.",
        table=f"Redundancy of {layer}",
        header=("model", *(quantity.label for quantity in _REDUNDANCY)),
        rows=((name, *(number(quantity.value(side)) for quantity in _REDUNDANCY)) for name, side in sides),
        option=("layer", layer),
    )


def _redundancy_notes(items: Items) -> Iterator[str]:
    rows = [row for item in items for row in item.record.layers]
    cut = {row.layer for row in rows if row.sampled < row.channels}
    lonely = {row.layer for row in rows if row.channels < 2}
    yield "A softmax depends on the scale of its input: for small weights the divergence grows with their square."
    yield "If it grew and the scaled divergence, cosine and effective rank did not change, only the weights grew."
    yield RULE
    if cut:
        most = max(row.sampled for row in rows)
        yield f"Of {count(len(cut), 'large layer')} {most} channels were compared, the same ones in all models."
    yield f"Without a second channel to compare with: {', '.join(sorted(lonely))}." if lonely else ""
    yield pictured_note(len(kinds(items)) - len(lonely), "matrix")


_QUALITY = {
    ENTROPY: "Entropy of the explained variance of a layer's slices as a share of the largest possible, 0 to 1: higher "
    "is more varied; untrained layers are at 1.",
    ORTHOGONALITY: "One less the mean absolute cosine between filters, 0 to 1: higher is more orthogonal.",
    Quantity("sparsity", "sparsity", show=percent): "Share of slices that are zero to 1 % of the layer's largest tap: "
    "these contribute next to nothing.",
}


def _quality(items: Items) -> Iterator[Figure]:
    status = {
        f"degenerate {name}": lambda layer, item=item, side=side: _status(item, layer, side)
        for name, item, side in [("before", items[0], "before"), *((item.name, item, "after") for item in items)]
    }
    for one, text in _QUALITY.items():
        yield layer_figure(items, one, text, more=status if one is ENTROPY else None)


def _status(item: Measured, layer: str, side: str) -> str:
    row = row_of(item, layer)
    return "" if row is None else getattr(row, side).degenerate or "no"


def _quality_notes(items: Items) -> Iterator[str]:
    unjudged = {row.layer for item in items for row in item.record.layers if row.random_threshold is None}
    yield "The limits of one half for sparse and narrow are this project's."
    yield "Random means as varied as a layer of the same size drawn from a normal distribution."
    yield "A layer near a limit may cross it by a small change."
    yield "Not among RefConv's claims, but less redundancy would show as higher entropy and orthogonality."
    yield RULE
    if unjudged:
        few = f"{count(len(unjudged), 'layer')} with no more slices than taps, judged by sparsity alone"
        yield f"{few}: {named(sorted(unjudged))}."


_FAMILIES = {"dog": "difference of Gaussians", "first": "its first derivative", "second": "its second derivative"}


def _gaussians(items: Items) -> Iterator[Figure]:
    yield _families(items)
    guides = [Guide("x", share, f"noise {times_text(size)}") for size, share in items[0].record.chance.items()]
    yield layer_figure(items, FITTING, "Share of a layer's kernels that one of the functions fits.", guides=guides)
    residual = "Median over a layer's kernels of the share of their square sum that the best function leaves."
    yield layer_figure(items, FIT_RESIDUAL, residual)


def _families(items: Items) -> Figure:
    def shares(key: str) -> dict[Role, float | None]:
        of = [item.record.fitting if key == "any" else item.record.families[key] for item in items]
        return {"before": of[0][0], **{item.role: last for item, (_, last) in zip(items, of, strict=True)}}

    found = {name: shares(key) for key, name in {"any": "any", **_FAMILIES}.items()}
    names = role_names(items)
    most = max(value or 0 for shares in found.values() for value in shares.values())
    ends = ", ".join(f"{names[role]} {percent(value)}" for role, value in found["any"].items())
    return bar_figure(
        found, names, title="Kernels that fit", y_label="share of all kernels", y_range=(0, max(0.05, most)),
        head="function",
        alt=f"Bars of the share of depthwise kernels that fit, by kind of function and model. Any: {ends}.",
        caption="Share of all depthwise kernels whose best function is of each kind and fits.",
    )  # fmt: skip


def _gaussians_notes(items: Items) -> Iterator[str]:
    record = items[0].record
    reasons = list(record.left_out.values())
    cut = sum(row.sampled < row.slices for row in record.layers)
    yield f"A kernel fits if the function leaves at most {number(record.tolerance)} of its square sum."
    yield "Kernels under 5 × 5 are left out, as nearly any would fit; the guide is the share of white noise that fits."
    yield RULE
    for reason in dict.fromkeys(reasons):
        yield f"{count(reasons.count(reason), 'layer')} left out: {times_text(reason)}."
    yield f"In {count(cut, 'large layer')} a sample of kernels was fitted, the same in all models." if cut else ""


_LEADING = Quantity("share along the leading patterns", "leading", sides=False, show=percent)

_MOVEMENT = {
    RELATIVE: "Length of the change over that of the start.",
    ALIGNMENT: "Alignment of the change with the Gram of the start, 0 to the number of taps; 1 is isotropic.",
    Quantity("cosine with the start", "cosine", sides=False): "Cosine between the kernels before and after.",
    _LEADING: "Share of the squared change in the fewest patterns that hold half of the Gram's trace; the table has "
    "what an isotropic movement would have there.",
}


def _movement(items: Items) -> Iterator[Figure]:
    isotropic = {f"isotropic {item.name}": lambda layer, item=item: _isotropic(item, layer) for item in items}
    for one, text in _MOVEMENT.items():
        guides = (Guide("x", 1, "isotropic"),) if one is ALIGNMENT else ()
        yield layer_figure(items, one, text, guides=guides, more=isotropic if one is _LEADING else None)


def _isotropic(item: Measured, layer: str) -> str:
    row = row_of(item, layer)
    return percent(row.leading_isotropic if row else None)


def _movement_notes(items: Items) -> Iterator[str]:
    cut = {row.layer for item in items for row in item.record.layers if row.sampled < row.blocks}
    orders = {(tuple(item.record.map_size), item.record.order) for item in items}
    yield "Training moves kernels in any case; what refocusing did shows beside plain training from the same start."
    yield "A relative distance far above 1 says that the start is a minor part of the result."
    grams = " and ".join(f"map size {times(size)}, order {order}" for size, order in sorted(orders))
    yield f"The Gram is that of refocusing with {grams}."
    yield RULE
    for item in items:
        if item.record.still:
            yield f"In {item.name} {count(item.record.still, 'layer')} did not move."
    yield f"Alignment was measured on a sample of the blocks of {count(len(cut), 'layer')}." if cut else ""


SECTIONS = (
    Spec("redundancy", _redundancy, _redundancy_notes),
    Spec("filters", _quality, _quality_notes),
    Spec("gaussians", _gaussians, _gaussians_notes),
    Spec("movement", _movement, _movement_notes),
)
