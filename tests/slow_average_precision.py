"""COCO's average precision, step by step: what the tests compare the quick one with."""

import numpy as np

THRESHOLDS = [0.5 + 0.05 * step for step in range(10)]
RECALLS = [step / 100 for step in range(101)]
RANGES = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
MOST = 100


def box_overlap(found, true, crowd):
    width = max(min(found[2], true[2]) - max(found[0], true[0]), 0)
    height = max(min(found[3], true[3]) - max(found[1], true[1]), 0)
    both = width * height
    own, other = ((box[2] - box[0]) * (box[3] - box[1]) for box in (found, true))
    return both / (own if crowd else own + other - both)


def mask_overlap(found, true, crowd):
    both = (found & true).sum()
    whole = found.sum() if crowd else (found | true).sum()
    return both / whole if whole else 0.0


def matched(image, label, threshold, limits, shapes, overlap):
    """Return (score, correct) of the detections that count, and the number of objects to find."""
    objects = [i for i, own in enumerate(image["labels"]) if own == label]
    ignored = {i: image["crowd"][i] or not limits[0] <= image["areas"][i] <= limits[1] for i in objects}
    found = [i for i, own in enumerate(image["found_labels"]) if own == label]
    found = sorted(found, key=lambda i: -image["scores"][i])[:MOST]
    taken, rows = set(), []
    for i in found:
        best, chosen = threshold, None
        # An object that counts is preferred to one that does not, however well the latter fits.
        for unjudged in (False, True):
            for j in objects:
                if bool(ignored[j]) != unjudged or (j in taken and not image["crowd"][j]):
                    continue
                if chosen is not None and bool(ignored[chosen]) != unjudged:
                    continue
                value = overlap(image["found_" + shapes][i], image[shapes][j], image["crowd"][j])
                if value >= best:
                    best, chosen = value, j
        if chosen is not None:
            taken.add(chosen)
        out = not limits[0] <= image["found_areas"][i] <= limits[1]
        if not (ignored[chosen] if chosen is not None else out):
            rows.append((image["scores"][i], chosen is not None))
    return rows, sum(not ignored[i] for i in objects)


def precision_of(rows, count):
    """Return the precision averaged over recalls; each is the best at that recall or a larger one."""
    rows = sorted(rows, key=lambda row: -row[0])
    correct = np.cumsum([row[1] for row in rows])
    points = [(hits / count, hits / number) for number, hits in enumerate(correct, 1)]
    return float(np.mean([max((p for r, p in points if r >= recall), default=0.0) for recall in RECALLS]))


def slow_average_precision(images, label, threshold, limits="all", shapes="boxes", overlap=box_overlap):
    """Return the average precision of one class at one threshold; None where there is nothing to find."""
    rows, count = [], 0
    for image in images:
        own, objects = matched(image, label, threshold, RANGES[limits], shapes, overlap)
        rows += own
        count += objects
    return precision_of(rows, count) if count else None
