"""A folder of images with tables of targets: whether they are bright, whether they have a bar, how bright they are."""

import numpy as np
from PIL import Image

HEADS = {"labels": "bright,bar", "one": "bright", "values": "level,bar"}


def write_tables(root, count=48, size=16):
    """Write images, labels.csv, one.csv and values.csv, each with a column split; return the folder.

    Every seventh entry of ``bar`` is not known.
    """
    drawn = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    lines = {name: [f"image,split,{head}"] for name, head in HEADS.items()}
    for number in range(count):
        bright, bar = (int(value) for value in drawn.integers(0, 2, 2))
        level = drawn.random()
        values = np.full((size, size, 3), 30 + 120 * bright + 50 * level)
        values[6:9] = 255 if bar else values[6:9]
        image = np.clip(values + drawn.normal(0, 6, values.shape), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / f"images/{number}.png")
        start = f"images/{number}.png,{'train' if number < 2 * count // 3 else 'test'}"
        known = "" if number % 7 == 0 else bar
        lines["labels"].append(f"{start},{bright},{known}")
        lines["one"].append(f"{start},{bright}")
        lines["values"].append(f"{start},{1000 * bright + 500 * level:.1f},{known}")
    for name, rows in lines.items():
        (root / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return root
