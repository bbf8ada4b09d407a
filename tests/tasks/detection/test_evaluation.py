"""Average precision: by hand, against a slow version, and the same however the images are shared out."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from detected_images import BOX, CLASSES, FAR, as_results, mean, painted, random_images, result
from refconv.errors import DataError
from refconv.process.distributed import Processes
from refconv.tasks.detection.evaluation import average_precision, constant_results
from several_processes import several_processes
from slow_average_precision import RANGES, THRESHOLDS, box_overlap, mask_overlap, slow_average_precision


def test_a_perfect_detector_has_one_and_a_blind_one_zero():
    one = average_precision([result(1, [(1, BOX), (2, FAR)], [(1, 0.9, BOX), (2, 0.8, FAR)])], classes=3)
    assert (one.map, one.map50, one.map75, one.recall) == (1.0, 1.0, 1.0, 1.0)
    assert one.per_class == (1.0, 1.0, None)  # nothing of the third class is there to be found
    assert (one.map_small, one.map_medium, one.map_large) == (None, 1.0, None)
    none = average_precision([result(1, [(1, BOX)], [])], classes=1)
    assert (none.map, none.recall, none.per_class) == (0.0, 0.0, (0.0,))


def test_without_objects_there_is_nothing_to_measure():
    found = average_precision([result(1, [], [(1, 0.9, BOX)]), result(2, [], [])], classes=1)
    assert (found.map, found.map50, found.per_class) == (None, None, (None,))


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        # One of two objects: recall 0.5, so 51 of 101 recalls (0, 0.01, ..., 0.5) have precision 1.
        ([(1, BOX), (1, FAR)], [(1, 0.9, BOX)], 51 / 101),
        # A surer mistake before the only object halves the precision everywhere.
        ([(1, BOX)], [(1, 0.9, FAR), (1, 0.8, BOX)], 0.5),
        # A less sure mistake costs nothing.
        ([(1, BOX)], [(1, 0.8, FAR), (1, 0.9, BOX)], 1.0),
        # The second detection of one object is a mistake.
        ([(1, BOX), (1, FAR)], [(1, 0.9, BOX), (1, 0.8, BOX), (1, 0.7, FAR)], (51 + 50 * 2 / 3) / 101),
        # Another class is a mistake, and the object is missed.
        ([(1, BOX)], [(2, 0.9, BOX)], 0.0),
    ],
    ids=["missed", "mistake", "late-mistake", "twice", "class"],
)
def test_cases_by_hand(truth, found, expected):
    assert average_precision([result(1, truth, found)], classes=2).map50 == pytest.approx(expected, abs=1e-12)


def test_an_overlap_of_three_quarters_counts_at_half_of_the_thresholds():
    # [0, 40] against [0, 30]: overlap 0.75, which reaches 0.5, 0.55, ..., 0.75: 6 of 10.
    found = average_precision([result(1, [(1, (0, 0, 40, 40))], [(1, 0.9, (0, 0, 40, 30))])], classes=1)
    assert (found.map, found.map50, found.map75) == (pytest.approx(0.6), 1.0, 1.0)


def test_crowds_are_neither_missed_nor_mistakes():
    truth, crowd = [(1, BOX), (1, (80.0, 80.0, 160.0, 160.0))], (1,)
    found = [(1, 0.95, (90.0, 90.0, 110.0, 110.0)), (1, 0.94, (120.0, 120.0, 150.0, 150.0)), (1, 0.9, BOX)]
    assert average_precision([result(1, truth, found, crowd)], classes=1).map == pytest.approx(1.0)
    assert average_precision([result(1, truth, found)], classes=1).map < 0.5


def test_the_annotations_area_decides_the_range():
    # As for a thin object in a large box: the mask's area, not the box's.
    found = average_precision([result(1, [(1, BOX)], [(1, 0.9, BOX)], areas=[500.0])], classes=1)
    assert (found.map_small, found.map_medium) == (1.0, None)


@pytest.mark.parametrize("limits", RANGES)
def test_boxes_are_judged_as_step_by_step(limits):
    images = random_images()
    found = average_precision(as_results(images), classes=CLASSES)
    labels = range(1, CLASSES + 1)
    slow = {
        (label, step): slow_average_precision(images, label, threshold, limits)
        for label in labels
        for step, threshold in enumerate(THRESHOLDS)
    }
    assert getattr(found, "map" if limits == "all" else f"map_{limits}") > 0
    assert getattr(found, "map" if limits == "all" else f"map_{limits}") == pytest.approx(mean(slow.values()), abs=1e-9)
    if limits == "all":
        assert 0.1 < found.map < 0.9
        assert found.map50 == pytest.approx(mean([slow[label, 0] for label in labels]), abs=1e-9)
        assert found.map75 == pytest.approx(mean([slow[label, 5] for label in labels]), abs=1e-9)
        per_class = [mean([slow[label, step] for step in range(10)]) for label in labels]
        assert found.per_class == pytest.approx(per_class, abs=1e-9)


def test_masks_are_judged_as_step_by_step():
    images = random_images(5)
    for image in images:
        image["masks"], image["found_masks"] = painted(image["boxes"]), painted(image["found_boxes"])
        image["found_areas"] = image["found_masks"].sum((1, 2))
    found = average_precision(as_results(images, masks=True), classes=CLASSES, kind="segm")
    labels = range(1, CLASSES + 1)
    for limits in ("all", "medium"):
        slow = [
            slow_average_precision(images, label, threshold, limits, "masks", mask_overlap)
            for label in labels
            for threshold in THRESHOLDS
        ]
        assert getattr(found, "map" if limits == "all" else f"map_{limits}") == pytest.approx(mean(slow), abs=1e-9)
    boxes = average_precision(as_results(images, masks=True), classes=CLASSES)
    assert boxes.map != pytest.approx(found.map, abs=1e-3)


def test_the_order_of_images_does_not_matter():
    results = as_results(random_images())
    for entry in results:
        entry.found.weights[:] = np.round(entry.found.weights, 1)  # equal scores across images
    expected = average_precision(results, classes=CLASSES)
    assert average_precision(results[::-1], classes=CLASSES) == expected
    assert average_precision(results[1::2] + results[::2], classes=CLASSES) == expected


def test_the_baseline_is_the_mean_box_of_each_class_in_every_image():
    first, second = (10.0, 10.0, 50.0, 50.0), (20.0, 20.0, 60.0, 60.0)
    results = [
        result(1, [(1, first), (2, FAR)], []),
        result(2, [(1, second), (1, FAR)], [], crowd=(1,)),
        result(3, [], []),
    ]
    found = constant_results(results)
    assert [entry.found.boxes.tolist() for entry in found] == [[[15.0, 15.0, 55.0, 55.0], list(FAR)]] * 3
    assert [entry.found.weights.tolist() for entry in found] == [[pytest.approx(2 / 3), pytest.approx(1 / 3)]] * 3
    assert found[1].truth is results[1].truth
    assert constant_results([result(1, [], [])])[0].found.boxes.shape == (0, 4)


def test_overlaps_are_those_of_real_coordinates():
    # Not of pixels counted inclusively, as in Pascal's own tools: there this overlap is 11 x 21 / 21 x 21 = 0.524.
    assert box_overlap((0, 0, 20, 10), (0, 0, 20, 20.2), crowd=False) < 0.5
    found = average_precision([result(1, [(1, (0, 0, 20, 20.2))], [(1, 0.9, (0, 0, 20, 10))])], classes=1)
    assert found.map50 == 0.0


def test_without_the_extra_a_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(DataError, match=r"needs faster-coco-eval; pip install \"refconv\[tasks\]\""):
        average_precision([result(1, [], [])], classes=1)


GATHERING = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import torch
from refconv.process.distributed import joined
from refconv.tasks.detection.evaluation import average_precision
from detected_images import CLASSES, as_results, random_images
torch.set_num_threads(1)
whole = as_results(random_images(7))
with joined("cpu") as processes:
    for shares in (((0, 7), (7, 7)), ((0, 2), (2, 7)), ((6, 7), (0, 6))):
        own = whole[slice(*shares[processes.rank])]
        parts = processes.gathered(own)
        assert [len(part) for part in parts] == [end - start for start, end in shares]
        together = average_precision([entry for part in parts for entry in part], classes=CLASSES)
        assert together == average_precision(whole, classes=CLASSES)
    (Path(sys.argv[1]) / f"rank-{processes.rank}").touch()
"""


def test_uneven_and_empty_shares_of_two_processes_give_the_whole(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(GATHERING)
    here = Path(__file__).parent
    agreeing = tmp_path / "agreeing"
    agreeing.mkdir()
    several_processes(2, script, agreeing, here, here.parents[1])
    assert sorted(path.name for path in agreeing.iterdir()) == ["rank-0", "rank-1"]


def test_one_process_gathers_from_itself():
    assert Processes(0, 1, torch.device("cpu")).gathered([1, 2]) == [[1, 2]]
