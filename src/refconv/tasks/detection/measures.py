"""What detection measures."""

from refconv.task_measures import Measure, TaskMeasures

MEASURES = TaskMeasures(
    (
        Measure(name="map", label="mAP", resolve=0.005, note="of boxes, overlaps from 0.5 to 0.95"),
        Measure(name="map50", label="mAP50", long="mAP at an overlap of 0.5", note="of boxes, at an overlap of 0.5"),
        Measure(name="map75", label="mAP75", long="mAP at an overlap of 0.75", note="of boxes, at an overlap of 0.75"),
        Measure(
            name="voc_ap50",
            label="VOC AP50",
            long="VOC's own average precision, at an overlap of 0.5",
            note="VOC's since 2010: area under the curve",
        ),
        Measure(name="map_small", label="mAP small", long="mAP of small objects", compared=False),
        Measure(name="map_medium", label="mAP medium", long="mAP of objects of medium size", compared=False),
        Measure(name="map_large", label="mAP large", long="mAP of large objects", compared=False),
        Measure(name="mask_map", label="mask mAP", long="mAP of masks", note="as mAP, of masks"),
        Measure(name="mask_map50", label="mask mAP50", long="mAP of masks at an overlap of 0.5", compared=False),
        Measure(name="mask_map75", label="mask mAP75", long="mAP of masks at an overlap of 0.75", compared=False),
        Measure(
            name="recall", label="recall", long="recall among 100 boxes", note="of the 100 surest boxes of an image"
        ),
        Measure(
            name="baseline_map",
            label="mAP of mean boxes",
            long="mAP without looking: the mean box of each class",
            compared=False,
        ),
    ),
    per_class="average precision",
)
