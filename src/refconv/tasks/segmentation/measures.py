"""What segmentation measures."""

from refconv.task_measures import NUMBER, Measure, TaskMeasures

_BASELINE = "mean IoU of the most frequent class everywhere"

MEASURES = TaskMeasures(
    (
        Measure("miou", "mean IoU", resolve=0.005),
        Measure("pixel_accuracy", "pixel accuracy"),
        Measure("mean_accuracy", "mean accuracy", long="mean accuracy of classes", note="mean over classes"),
        Measure("loss", "loss", scale=NUMBER, larger_is_better=False),
        Measure("baseline_miou", "mean IoU of one class", long=_BASELINE, compared=False),
    ),
    per_class="IoU",
)
