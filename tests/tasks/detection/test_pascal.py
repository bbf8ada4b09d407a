"""Pascal VOC's rules: against the development kit's procedure, step by step, where COCO's differ."""

import numpy as np
import pytest
import torch
from torch import nn

from detected_images import BOX, CLASSES, FAR, as_results, mean, painted, random_images, result
from refconv.data.scenes import make_scenes
from refconv.tasks.detection.annotations import runs
from refconv.tasks.detection.data import DetectionData
from refconv.tasks.detection.evaluation import (
    average_precision,
    constant_results,
    image_result,
    pascal_average_precision,
)
from refconv.tasks.detection.task import Detection


def kit(images, label, threshold=0.5, points="all"):
    """Return VOC's average precision of one class as its development kit computes it; None without an object.

    Overlaps count pixels inclusively from 1, as the kit does; the precision-recall curve is integrated over all points,
    as since 2010, or read at 11 recalls, as in 2007.
    """
    rows, positives = [], 0
    for number, image in enumerate(images):
        own = [i for i, other in enumerate(image["labels"]) if other == label]
        positives += sum(not image["difficult"][i] for i in own)
        rows += [
            (-score, number, order)
            for order, (score, other) in enumerate(zip(image["scores"], image["found_labels"], strict=True))
            if other == label
        ]
    right, wrong, taken = [], [], set()
    for _, number, order in sorted(rows):
        image = images[number]
        best, chosen = -np.inf, None
        x0, y0, x1, y1 = image["found_boxes"][order] + np.array([1, 1, 0, 0])
        for i, other in enumerate(image["labels"]):
            if other != label:
                continue
            a0, b0, a1, b1 = image["boxes"][i] + np.array([1, 1, 0, 0])
            width, height = min(x1, a1) - max(x0, a0) + 1, min(y1, b1) - max(y0, b0) + 1
            if width > 0 and height > 0:
                union = (x1 - x0 + 1) * (y1 - y0 + 1) + (a1 - a0 + 1) * (b1 - b0 + 1) - width * height
                if width * height / union > best:
                    best, chosen = width * height / union, i
        if best >= threshold and image["difficult"][chosen]:
            hit = miss = 0
        else:
            hit = int(best >= threshold and (number, chosen) not in taken)
            miss = 1 - hit
            if hit:
                taken.add((number, chosen))
        right.append(hit)
        wrong.append(miss)
    if not positives:
        return None
    right, wrong = np.cumsum(right), np.cumsum(wrong)
    recall, precision = right / positives, right / np.maximum(right + wrong, 1)
    if points == "11":
        return float(np.mean([precision[recall >= t].max(initial=0) for t in np.linspace(0, 1, 11)]))
    recall, precision = np.r_[0, recall, 1], np.r_[0, precision, 0]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return float(((recall[steps + 1] - recall[steps]) * precision[steps + 1]).sum())


def difficult_images():
    """Return random images without crowds, in which a third of the objects are difficult."""
    generator = np.random.default_rng(1)
    images = random_images(20)
    for image in images:
        image["difficult"] = generator.random(len(image["labels"])) < 1 / 3
        image["crowd"] = np.zeros(len(image["labels"]), dtype=bool)
    return images


def results_of(images, masks=False):
    found = as_results(images, masks)
    for entry, image in zip(found, images, strict=True):
        entry.truth.difficult[:] = image["difficult"]
    return found


def test_false_boxes_inside_a_difficult_object_are_mistakes():
    large, inside = (0.0, 0.0, 90.0, 90.0), [(5.0, 5.0, 30.0, 30.0), (50.0, 50.0, 80.0, 80.0)]
    objects = [(1, FAR), (1, large)]
    found = [(1, 0.9, inside[0]), (1, 0.8, inside[1]), (1, 0.7, FAR)]
    one = result(1, objects, found, difficult=(1,))
    assert average_precision([one], classes=1).map == pytest.approx(1 / 3)
    assert pascal_average_precision([one], classes=1) == pytest.approx((1 / 3,))
    # The neighbour: as COCO's crowd, of which any part will do.
    assert average_precision([result(1, objects, found, crowd=(1,))], classes=1).map == pytest.approx(1.0)


def test_all_detections_of_a_difficult_object_count_neither_way():
    objects = [(1, BOX), (1, FAR)]
    found = [(1, 0.95, FAR), (1, 0.9, FAR), (1, 0.8, BOX)]
    assert average_precision([result(1, objects, found, difficult=(1,))], classes=1).map == pytest.approx(1.0)
    assert pascal_average_precision([result(1, objects, found, difficult=(1,))], classes=1) == (1.0,)
    assert average_precision([result(1, objects, found)], classes=1).map < 0.9
    only = average_precision([result(1, [(1, FAR)], found, difficult=(0,))], classes=1)
    assert (only.map, only.per_class) == (None, (None,))  # nothing is left to be found


def test_vocs_average_precision_is_the_kits():
    images = difficult_images()
    found = pascal_average_precision(results_of(images), classes=CLASSES + 1)
    labels = range(1, CLASSES + 1)
    assert found[:CLASSES] == pytest.approx([kit(images, label) for label in labels], abs=1e-12)
    assert found[CLASSES] is None
    assert 0.1 < mean(found) < 0.9
    assert mean(found) != pytest.approx(mean([kit(images, label, points="11") for label in labels]), abs=1e-3)
    assert mean(found) != pytest.approx(average_precision(results_of(images), classes=CLASSES).map50, abs=1e-4)
    easy = [{**image, "difficult": np.zeros_like(image["difficult"])} for image in images]
    assert mean(found) != pytest.approx(mean([kit(easy, label) for label in labels]), abs=1e-2)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_at_each_threshold_detections_are_excused_by_the_overlap_asked_for(kind):
    """A difficult object that is overlapped by 0.6 excuses at 0.5, 0.55 and 0.6, and not above."""
    boxes = [(1, FAR), (1, (0.0, 0.0, 40.0, 50.0))]
    found = [(1, 0.9, (0.0, 0.0, 40.0, 30.0)), (1, 0.8, FAR)]
    one = result(1, boxes, found, difficult=(1,))
    if kind == "segm":
        pixels = [torch.tensor(np.array([_filled(box) for *_, box in rows])) for rows in (boxes, found)]
        target = {"boxes": torch.tensor([box for _, box in boxes]), "labels": torch.ones(2, dtype=torch.int64)}
        target |= {"area": torch.tensor([1600.0, 2000.0]), "iscrowd": torch.zeros(2), "runs": runs(pixels[0])}
        target |= {"difficult": torch.tensor([0, 1]), "image_id": torch.tensor(1)}
        output = {"boxes": torch.tensor([box for *_, box in found]), "labels": torch.ones(2, dtype=torch.int64)}
        output |= {"scores": torch.tensor([0.9, 0.8]), "masks": pixels[1][:, None].float()}
        one = image_result(target, output, (160, 160), masks=True)
    ap = average_precision([one], classes=1, kind=kind)
    assert (ap.map50, ap.map75) == (pytest.approx(1.0), pytest.approx(0.5))
    assert ap.map == pytest.approx((3 * 1.0 + 7 * 0.5) / 10)


def _filled(box):
    x0, y0, x1, y1 = map(int, box)
    plane = np.zeros((160, 160), dtype=np.uint8)
    plane[y0:y1, x0:x1] = 1
    return plane


def test_without_difficult_objects_coco_is_as_it_was():
    images = difficult_images()
    for image in images:
        image["masks"], image["found_masks"] = painted(image["boxes"]), painted(image["found_boxes"])
        image["difficult"][:] = False
    one, two = results_of(images[:4], masks=True), results_of(images[:4], masks=True)
    # One image more, with a difficult object that nothing was found near: another route to the same numbers.
    lone = result(99, [(1, BOX)], [], difficult=(0,))
    assert average_precision([*two, lone], classes=CLASSES) == average_precision(one, classes=CLASSES)
    assert average_precision(one, classes=CLASSES).map > 0.1


def test_the_baseline_does_not_know_difficult_objects():
    found = constant_results([result(1, [(1, BOX), (1, FAR)], [], difficult=(1,))])
    assert found[0].found.boxes.tolist() == [list(BOX)]


class Knowing(nn.Module):
    """A detector that is told the objects of each image in turn, and finds those that are not difficult."""

    def __init__(self, data):
        super().__init__()
        self.targets = iter([target for _, targets in data.eval_batches("test", batch_size=1) for target in targets])

    def forward(self, images):
        return [
            {name: target[name][target["difficult"] == 0] for name in ("boxes", "labels")}
            | {"scores": torch.ones(int((target["difficult"] == 0).sum()))}
            for target in (next(self.targets) for _ in images)
        ]


def test_data_in_vocs_layout_is_judged_by_voc_too(tmp_path):
    make_scenes(tmp_path / "scenes", train=4, val=2, test=3, size=48, items=(2, 3), source="digits")
    voc = tmp_path / "scenes" / "voc"
    for file in (voc / "Annotations").glob("*.xml"):
        file.write_text(file.read_text().replace("<difficult>0", "<difficult>1", 1))
    for name, own in ((f"voc:{voc}", True), (f"coco:{tmp_path / 'scenes'}", False)):
        data = DetectionData(name)
        found = Detection().evaluate(Knowing(data), data, "test", batch_size=2, device=torch.device("cpu"))
        assert (found.voc_ap50 is not None) == own == ("VOC AP50 100.00%" in str(found))
        assert set(Detection().definitions(data)) == ({"map", "map50", "map75"} if own else set())
    assert found.measures().get("voc_ap50") is None
