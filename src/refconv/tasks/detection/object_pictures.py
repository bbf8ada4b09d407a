"""The objects that a detector finds in an image: as plain values, as text, and drawn on the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torchvision.transforms.v2 import functional as v2
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from refconv.tasks.task import NOTHING_FOUND, Prediction

if TYPE_CHECKING:
    from PIL import Image

    from refconv.models.opening import Opened

_LEGIBLE = 320  # pixels; pictures of smaller images are enlarged, so that names can be read
_OBJECTS_SHOWN = 10

_COLOURS = (
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c", "#fabebe",
)  # fmt: skip


def object_prediction(image: Image.Image, output: dict[str, Tensor], opened: Opened, threshold: float) -> Prediction:
    """Return the prediction in a detector's output (tensors on the CPU), the highest score first."""
    chosen = output["scores"] >= threshold
    order = output["scores"][chosen].argsort(descending=True, stable=True)
    boxes, labels, scores = (output[name][chosen][order] for name in ("boxes", "labels", "scores"))
    masks = output["masks"][chosen][order, 0] > 0.5 if "masks" in output else None
    names = [opened.class_name(label - 1) for label in labels.tolist()]
    rows = [
        {"class": label - 1, "name": name, "score": score, "box": [round(number, 2) for number in box]}
        for label, name, score, box in zip(labels.tolist(), names, scores.tolist(), boxes.tolist(), strict=True)
    ]
    if masks is not None:
        for row, area in zip(rows, masks.flatten(1).sum(1).tolist(), strict=True):
            row["area"] = area
    tags = [f"{row['name']} {row['score']:.0%}" for row in rows]
    words = ", ".join(tags[:_OBJECTS_SHOWN]) or NOTHING_FOUND
    if len(rows) > _OBJECTS_SHOWN:
        words += f", ... ({len(rows)} objects)"
    # The highest score is drawn last, on top of the others.
    picture = draw_objects(image, boxes.flip(0), tags[::-1], labels.flip(0), masks if masks is None else masks.flip(0))
    return Prediction({"objects": rows}, words, picture)


def draw_objects(
    image: Image.Image, boxes: Tensor, words: list[str], labels: Tensor, masks: Tensor | None
) -> Image.Image:
    """Draw boxes [n, 4] with words, and masks bool [n, H, W], on an image, enlarged if small; one colour per class."""
    factor = max(1, _LEGIBLE // max(image.size))
    pixels = v2.pil_to_tensor(image.resize((image.width * factor, image.height * factor)))
    if len(boxes):
        colours = [_COLOURS[label % len(_COLOURS)] for label in labels.tolist()]
        if masks is not None:
            enlarged = masks.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
            pixels = draw_segmentation_masks(pixels, enlarged, alpha=0.4, colors=colours)
        pixels = draw_bounding_boxes(pixels, boxes * factor, labels=words, colors=colours, width=2)
    drawn: Image.Image = v2.to_pil_image(pixels)
    return drawn
