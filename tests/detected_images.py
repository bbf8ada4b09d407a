"""What was detected in images, by hand and at random, in the form in which average precision is computed."""

import numpy as np
import torch

from refconv.tasks.detection.annotations import runs
from refconv.tasks.detection.evaluation import image_result

SIZE = 160
CLASSES = 3
BOX = (10.0, 10.0, 50.0, 50.0)
FAR = (100.0, 100.0, 140.0, 140.0)


def result(image_id, truth, found, crowd=(), areas=None, difficult=()):
    """Return an image's result of (label, box) and of (label, score, box)."""
    boxes = torch.tensor([box for _, box in truth], dtype=torch.float64).reshape(-1, 4)
    detected = torch.tensor([box for _, _, box in found], dtype=torch.float64).reshape(-1, 4)
    target = {
        "boxes": boxes,
        "labels": torch.tensor([label for label, _ in truth], dtype=torch.int64),
        "area": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) if areas is None else torch.tensor(areas),
        "iscrowd": torch.tensor([i in crowd for i in range(len(truth))], dtype=torch.int64),
        "difficult": torch.tensor([i in difficult for i in range(len(truth))], dtype=torch.int64),
        "image_id": torch.tensor(image_id),
    }
    output = {
        "boxes": detected,
        "labels": torch.tensor([label for label, _, _ in found], dtype=torch.int64),
        "scores": torch.tensor([score for _, score, _ in found], dtype=torch.float64),
    }
    return image_result(target, output, (SIZE, SIZE), masks=False)


def random_images(count=12):
    """Return images with overlapping objects of all sizes, crowds, mistakes, and more than 100 detections in one."""
    generator = np.random.default_rng(0)
    images = []
    for number in range(count):
        objects = int(generator.integers(0, 7))
        starts = generator.uniform(0, 55, (objects, 2))
        boxes = np.concatenate([starts, starts + generator.choice([12, 25, 40, 58, 104], (objects, 1))], 1).clip(
            0, SIZE
        )
        labels = generator.integers(1, CLASSES + 1, objects)
        copies = generator.integers(0, 3, objects).sum() + (120 if number == 3 else 1)
        strays = np.tile(generator.uniform(0, 50, (3, 2)), 2) + np.array([0, 0, 60, 60])
        source = np.concatenate([boxes, strays])
        chosen = generator.integers(0, len(source), copies)
        found = (source[chosen] + generator.normal(0, 2, (copies, 4))).clip(0, SIZE)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 2)
        found_labels = np.concatenate([labels, [1, 2, 3]])[chosen]
        images.append({
            "boxes": boxes,
            "labels": labels,
            "areas": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * generator.uniform(0.8, 1, objects),
            "crowd": generator.random(objects) < 0.2,
            "found_boxes": found,
            "found_labels": np.where(generator.random(copies) < 0.95, found_labels, 1),
            "found_areas": (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1]),
            "scores": generator.permutation(copies) / copies,
        })  # fmt: skip
    return images


def as_results(images, masks=False):
    results = []
    for number, image in enumerate(images):
        target = {
            "boxes": torch.tensor(image["boxes"]),
            "labels": torch.tensor(image["labels"]),
            "area": torch.tensor(image["areas"]),
            "iscrowd": torch.tensor(image["crowd"]).long(),
            "image_id": torch.tensor(number),
        }
        output = {
            "boxes": torch.tensor(image["found_boxes"]),
            "labels": torch.tensor(image["found_labels"]),
            "scores": torch.tensor(image["scores"]),
        }
        if masks:
            target["runs"] = runs(torch.tensor(image["masks"]))
            output["masks"] = torch.tensor(image["found_masks"])[:, None].float() * 0.9
        results.append(image_result(target, output, (SIZE, SIZE), masks=masks))
    return results


def mean(values):
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def painted(boxes):
    """Return the ellipses in boxes as masks, bool [boxes, SIZE, SIZE]."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    masks = [
        ((x - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((y - (y0 + y1) / 2) / (y1 - y0)) ** 2 <= 0.25
        for x0, y0, x1, y1 in boxes
    ]
    return np.array(masks, dtype=bool).reshape(-1, SIZE, SIZE)
