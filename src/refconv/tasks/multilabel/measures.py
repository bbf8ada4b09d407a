"""What multi-label classification measures."""

from refconv.task_measures import NUMBER, Measure, TaskMeasures

_AT = "a label counts from a probability of 0.5 on"

MEASURES = TaskMeasures(
    (
        Measure("label_map", "mAP of labels", long="mean average precision of labels", resolve=0.005),
        Measure("f1_macro", "F1 by label", long="F1, mean over labels", note=_AT),
        Measure("f1_micro", "F1 overall", long="F1 over all labels together", note=_AT),
        Measure("label_auc", "AUC by label", long="area under the ROC curve, mean over labels"),
        Measure("loss", "loss", scale=NUMBER, larger_is_better=False),
    ),
    per_class="average precision",
    samples="sample",
)
