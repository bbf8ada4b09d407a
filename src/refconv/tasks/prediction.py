"""A model's prediction for one image, as a record and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image


NOTHING_FOUND = "nothing above the minimum score"


@dataclass(frozen=True)
class Prediction:
    """A prediction for one image.

    Attributes:
        content: plain values, ready for JSON: classes and scores; boxes; shares of classes; sizes.
        words: the same as a line of text.
        picture: the image with the prediction drawn on it, or the restored image; None where there is nothing to draw.
        mask: the class of each pixel of the image, as an image of indices with a palette; for segmentation.
    """

    content: dict[str, Any]
    words: str
    picture: Image.Image | None = None
    mask: Image.Image | None = None
