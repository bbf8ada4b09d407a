"""What binary classification measures."""

from refconv.task_measures import NUMBER, Measure, TaskMeasures

_AT = "the positive class counts from a probability of 0.5 on"

MEASURES = TaskMeasures(
    (
        Measure("auc", "AUC", long="area under the ROC curve", resolve=0.005),
        Measure("average_precision", "average precision"),
        Measure("accuracy", "accuracy", counts=True, note=_AT),
        Measure("f1", "F1", long="F1 of the positive class", note=_AT),
        Measure("loss", "loss", scale=NUMBER, larger_is_better=False),
    ),
    samples="sample",
)
