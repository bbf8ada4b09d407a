"""The classes of an image's pixels: as shares, as text, and as colours laid over the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from refconv.data.scenes.layouts import voc_palette
from refconv.tasks.task import Prediction

if TYPE_CHECKING:
    from refconv.models.opening import Opened

_OVERLAY = 0.5
_CLASSES_SHOWN = 5


def class_prediction(image: Image.Image, classes: Image.Image, opened: Opened) -> Prediction:
    """Return the prediction of a segmenter for an image, the class with the largest share first."""
    numbers, counts = np.unique(np.asarray(classes), return_counts=True)
    shares = sorted(zip((counts / counts.sum()).tolist(), numbers.tolist(), strict=True), key=lambda s: (-s[0], s[1]))
    shown = [{"class": number, "name": opened.class_name(number), "share": share} for share, number in shares]
    words = ", ".join(f"{entry['name']} {entry['share']:.1%}" for entry in shown[:_CLASSES_SHOWN])
    more = f" and {len(shown) - _CLASSES_SHOWN} more" if len(shown) > _CLASSES_SHOWN else ""
    picture = overlay(image, classes, background=opened.class_name(0) == "background")
    return Prediction({"classes": shown}, words + more, picture, classes)


def overlay(image: Image.Image, classes: Image.Image, *, background: bool) -> Image.Image:
    """Lay the classes in their colours over an image; class 0 is left as it is where it is background."""
    palette = list(voc_palette())
    # The first of the colours is black, which suits a background alone.
    classes.putpalette(palette if background else [*palette[3:], *palette[:3]])
    strength = np.full((image.height, image.width), round(255 * _OVERLAY), dtype=np.uint8)
    if background:
        strength[np.asarray(classes) == 0] = 0
    return Image.composite(classes.convert("RGB"), image.convert("RGB"), Image.fromarray(strength))
