"""What classification measures."""

from refconv.task_measures import NUMBER, Measure, TaskMeasures

MEASURES = TaskMeasures(
    (
        Measure("top1", "top-1", long="top-1 accuracy", resolve=0.001, counts=True),
        Measure("top5", "top-5", long="top-5 accuracy", counts=True, compared=False),
        Measure("loss", "loss", scale=NUMBER, larger_is_better=False),
        Measure("ece", "calibration error", larger_is_better=False, validated=False, note="15 bins of equal width"),
    ),
    samples="sample",
    better="more accurate",
    worse="less accurate",
)
