"""What detection measures."""

from refconv.task_measures import Measure, TaskMeasures

_VOC = "VOC's own average precision, at an overlap of 0.5"
_BASELINE = "mAP without looking: the mean box of each class"

MEASURES = TaskMeasures(
    (
        Measure("map", "mAP", resolve=0.005, note="of boxes, overlaps from 0.5 to 0.95"),
        Measure("map50", "mAP50", long="mAP at an overlap of 0.5", note="of boxes, at an overlap of 0.5"),
        Measure("map75", "mAP75", long="mAP at an overlap of 0.75", note="of boxes, at an overlap of 0.75"),
        Measure("voc_ap50", "VOC AP50", long=_VOC, note="VOC's since 2010: area under the curve"),
        Measure("map_small", "mAP small", long="mAP of small objects", compared=False),
        Measure("map_medium", "mAP medium", long="mAP of objects of medium size", compared=False),
        Measure("map_large", "mAP large", long="mAP of large objects", compared=False),
        Measure("mask_map", "mask mAP", long="mAP of masks", note="as mAP, of masks"),
        Measure("mask_map50", "mask mAP50", long="mAP of masks at an overlap of 0.5", compared=False),
        Measure("mask_map75", "mask mAP75", long="mAP of masks at an overlap of 0.75", compared=False),
        Measure("recall", "recall", long="recall among 100 boxes", note="of the 100 surest boxes of an image"),
        Measure("baseline_map", "mAP of mean boxes", long=_BASELINE, compared=False),
    ),
    per_class="average precision",
)
