"""The confusion matrix and its measures, against counting by sets of pixels."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from refconv.tasks.segmentation.evaluation import confusion_matrix, overlap

CLASSES, IGNORED = 4, 255


def pixels(seed, *, shape=(3, 7, 9), present=(0, 1, 3), predicted=(0, 1, 3)):
    drawn = np.random.default_rng(seed)
    truth = drawn.choice([*present, IGNORED], shape)
    return torch.tensor(truth), torch.tensor(drawn.choice(predicted, shape))


def sets(values, label):
    return set(map(tuple, np.argwhere(np.asarray(values) == label)))


def by_sets(truth, predicted):
    """Return IoU and accuracy per class from sets of pixels."""
    ignored = sets(truth, IGNORED)
    iou, accuracy = [], []
    for label in range(CLASSES):
        there, given = sets(truth, label), sets(predicted, label) - ignored
        iou.append(len(there & given) / len(there | given) if there | given else None)
        accuracy.append(len(there & given) / len(there) if there else None)
    return iou, accuracy


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("present", "predicted"),
    [((0, 1, 2, 3), (0, 1, 2, 3)), ((0, 1, 3), (0, 1, 3)), ((0, 1), (0, 3)), ((0,), (0, 1)), ((0, 1, 2), (0, 9))],
    ids=["all", "one nowhere", "one only predicted", "one class", "a class of the model alone"],
)
def test_overlap_is_that_of_sets_of_pixels(seed, present, predicted):
    truth, given = pixels(seed, present=present, predicted=predicted)
    matrix = confusion_matrix(given, truth, classes=CLASSES, ignored=IGNORED)
    found = overlap(matrix)
    iou, accuracy = by_sets(truth, given)
    assert found.iou == pytest.approx(iou)
    assert found.accuracy == pytest.approx(accuracy)
    assert found.mean_iou == pytest.approx(np.mean([value for value in iou if value is not None]))
    assert found.mean_accuracy == pytest.approx(np.mean([value for value in accuracy if value is not None]))
    counted = truth != IGNORED
    assert found.pixel_accuracy == pytest.approx(float((truth == given)[counted].double().mean()))
    assert int(matrix.sum()) == int(counted.sum())


def test_a_class_that_is_nowhere_is_not_a_zero():
    truth, given = pixels(0, present=(0, 1), predicted=(0, 1))
    found = overlap(confusion_matrix(given, truth, classes=CLASSES, ignored=IGNORED))
    assert found.iou[2:] == (None, None)
    assert found.mean_iou > np.mean([value or 0 for value in found.iou])  # the neighbouring formula


def test_a_class_that_is_only_predicted_is_a_zero():
    truth, given = pixels(0, present=(0, 1), predicted=(0, 2))
    found = overlap(confusion_matrix(given, truth, classes=CLASSES, ignored=IGNORED))
    assert (found.iou[2], found.accuracy[2]) == (0, None)


def test_an_ignored_class_has_no_overlap_although_it_is_predicted():
    truth, given = pixels(1, present=(0, 1, 2), predicted=(0, 1, 2))
    truth[truth == IGNORED] = 0
    found = overlap(confusion_matrix(given, truth, classes=CLASSES, ignored=0), ignored={0})
    assert found.iou[0] is None
    assert found.accuracy[0] is None
    wrong = set(map(tuple, np.argwhere(((given == 0) & (truth == 1)).numpy())))
    there = sets(truth, 1)
    both = there & sets(given, 1)
    union = there | {pixel for pixel in sets(given, 1) if pixel not in sets(truth, 0)}
    assert wrong  # pixels of another class that were given to the ignored one are misses all the same
    assert found.iou[1] == pytest.approx(len(both) / len(union))


def test_matrices_of_parts_add_up():
    truth, given = pixels(2)
    whole = confusion_matrix(given, truth, classes=CLASSES, ignored=IGNORED)
    parts = sum(confusion_matrix(g, t, classes=CLASSES, ignored=IGNORED) for t, g in zip(truth, given, strict=True))
    assert torch.equal(parts, whole)
    assert whole.dtype == torch.int64


def test_the_baseline_is_the_most_frequent_class_everywhere():
    truth, given = pixels(3)
    found = overlap(confusion_matrix(given, truth, classes=CLASSES, ignored=IGNORED))
    most = int(torch.bincount(truth[truth != IGNORED]).argmax())
    trivial = overlap(confusion_matrix(torch.full_like(truth, most), truth, classes=CLASSES, ignored=IGNORED))
    assert found.baseline == pytest.approx(trivial.mean_iou)


def test_overlap_and_accuracy_are_those_of_torchmetrics():
    parts = [pixels(seed, present=present, predicted=(0, 1, 2, 3)) for seed, present in ((0, (0, 1)), (1, (1, 2, 3)))]
    truth, predicted = (torch.cat(both) for both in zip(*parts, strict=True))
    settings = {"num_classes": CLASSES, "ignore_index": IGNORED}
    found = overlap(confusion_matrix(predicted, truth, classes=CLASSES, ignored=IGNORED))
    per_class = multiclass_jaccard_index(predicted, truth, average="none", **settings)
    assert found.iou == pytest.approx(per_class.tolist(), abs=1e-6)
    assert found.mean_iou == pytest.approx(float(per_class.mean()), abs=1e-6)
    assert found.pixel_accuracy == pytest.approx(
        float(multiclass_accuracy(predicted, truth, average="micro", **settings)), abs=1e-6
    )
    assert found.mean_accuracy == pytest.approx(
        float(multiclass_accuracy(predicted, truth, average="macro", **settings)), abs=1e-6
    )
    # Neighbours: the mean over images of each image's mean IoU; all pixels in one; ignored ones counted as mistakes.
    images = [float(multiclass_jaccard_index(p, t, average="macro", **settings)) for t, p in parts]
    assert found.mean_iou != pytest.approx(np.mean(images), abs=1e-3)
    assert found.mean_iou != pytest.approx(
        float(multiclass_jaccard_index(predicted, truth, average="micro", **settings)), abs=1e-3
    )
    assert found.pixel_accuracy != pytest.approx(float((predicted == truth).double().mean()), abs=1e-3)
