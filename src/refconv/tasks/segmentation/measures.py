"""What segmentation measures."""

from refconv.task_measures import NUMBER, Measure, TaskMeasures

MEASURES = TaskMeasures(
    (
        Measure(name="miou", label="mean IoU", resolve=0.005),
        Measure(name="pixel_accuracy", label="pixel accuracy"),
        Measure(name="mean_accuracy", label="mean accuracy", long="mean accuracy of classes", note="mean over classes"),
        Measure(name="loss", label="loss", scale=NUMBER, larger_is_better=False),
        Measure(
            name="baseline_miou",
            label="mean IoU of one class",
            long="mean IoU of the most frequent class everywhere",
            compared=False,
        ),
    ),
    per_class="IoU",
)
