"""Readers of the markup that charts return."""

import base64
import io
import re
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image


class Drawn:
    """Markup as a tree, with the questions that tests ask of it."""

    def __init__(self, markup):
        self.text = str(markup)
        self.root = ElementTree.fromstring(self.text)

    def all(self, class_: str):
        """Return the elements that have a class."""
        return [one for one in self.root.iter() if class_ in (one.get("class") or "").split()]

    def texts(self, class_: str) -> list[str]:
        return ["".join(one.itertext()) for one in self.all(class_)]

    def starts(self, class_: str) -> list[tuple[float, float]]:
        """Return where the sub-paths of the elements of a class start."""
        data = "".join(one.get("d", "") for one in self.all(class_))
        return [(float(x), float(y)) for x, y in re.findall(r"M(\S+?) ([-\d.]+)", data)]

    def tips(self) -> list[str]:
        return [one.get("data-tip") for one in self.root.iter() if one.get("data-tip") is not None]

    def images(self) -> list[Image.Image]:
        """Return the pictures inside, those of the bar of colours among them."""
        uris = [one.get("href") or one.get("src") for one in self.root.iter() if one.tag in {"image", "img"}]
        return [Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))) for uri in uris]

    def pixels(self, number: int) -> np.ndarray:
        """Return a picture's colours [height, width, 4]."""
        return np.asarray(self.images()[number].convert("RGBA"))


@pytest.fixture
def read() -> Callable[..., Drawn]:
    return Drawn
