"""What embeddings are measured by."""

from refconv.task_measures import Measure, TaskMeasures

_AMONG = "each sample searches all others of the split, by cosine similarity"

MEASURES = TaskMeasures(
    (
        Measure("recall_at_1", "recall at 1", long="recall at 1 of retrieval", resolve=0.005, counts=True, note=_AMONG),
        Measure("recall_at_5", "recall at 5", long="recall at 5 of retrieval", note=_AMONG),
        Measure("recall_at_10", "recall at 10", long="recall at 10 of retrieval", compared=False),
        Measure("retrieval_map", "mAP of retrieval", long="mean average precision of retrieval", note=_AMONG),
    ),
    samples="sample",
)
