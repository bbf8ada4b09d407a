"""The colour photographs that lie in scikit-image's wheel: data for restoration that needs no network.

Split by image: no scene is in two splits (the motorcycle is there twice, from the left and from the right). Some were
JPEG files and carry traces of it. The rest of the wheel's images are drawings, diagrams, grey, or smaller.
"""

from __future__ import annotations

from pathlib import Path

from refconv.data.splits import Parts
from refconv.errors import DataError

PHOTOGRAPHS: Parts[tuple[str, ...]] = Parts(
    train=(
        "astronaut.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
        "retina.jpg",
    ),
    val=("rocket.jpg",),
    test=("chelsea.png", "coffee.png"),
)
"""The names of the files of each split."""


def photographs() -> Path:
    """Return the folder that holds the photographs.

    Raises:
        DataError: if scikit-image is not installed, or its wheel does not hold them any more.
    """
    try:
        import skimage
    except ImportError as error:
        raise DataError(
            "needs scikit-image, which is not installed", where="photographs", remedy='pip install "refconv[tasks]"'
        ) from error
    folder = Path(str(skimage.__file__)).parent / "data"
    names = (*PHOTOGRAPHS.train, *(PHOTOGRAPHS.val or ()), *PHOTOGRAPHS.test)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(
            "this version of scikit-image does not contain the photographs",
            where=str(folder),
            expected=", ".join(names),
            found=f"{len(missing)} missing: {', '.join(missing)}",
            remedy="install scikit-image 0.26, or name a folder: images:FOLDER",
        )
    return folder
