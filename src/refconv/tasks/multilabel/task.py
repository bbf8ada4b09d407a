"""Multi-label classification: which of several labels a sample has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from refconv.data import Data
from refconv.data.targets import Wanted
from refconv.models.opening import Opened
from refconv.tasks.evaluation import Evaluation
from refconv.tasks.losses import asymmetric, bce
from refconv.tasks.multilabel.evaluation import evaluation_of
from refconv.tasks.sample_task import NOT_MIXED, SampleTask
from refconv.tasks.task import NOTHING_FOUND, Prediction
from refconv.tasks.teaching import Distance, of_labels

if TYPE_CHECKING:
    from PIL import Image


class Multilabel(SampleTask):
    """A logit for each label: binary cross-entropy or asymmetric loss, mAP, F1 by label and overall, AUC."""

    name = "multilabel"
    threshold = 0.5
    losses: ClassVar = {"bce": bce, "asymmetric": asymmetric}
    without_effect: ClassVar[Mapping[str, str]] = {
        **SampleTask.without_effect,
        **NOT_MIXED,
        "smoothing": "labels are smoothed for classes only",
    }

    def wanted(self, positive: str | None) -> Wanted:
        """Return that labels are wanted."""
        return Wanted("labels")

    @property
    def distance(self) -> Distance:
        """The divergence of the probabilities of each label."""
        return of_labels

    def evaluation(self, outputs: Tensor, targets: Tensor, data: Data) -> Evaluation:
        """Return the evaluation of outputs and targets of a split."""
        return evaluation_of(outputs, targets, data.info.class_names)

    def predict(
        self, opened: Opened, image: Image.Image | Tensor, *, device: torch.device, threshold: float
    ) -> Prediction:
        """Return the labels whose probability is at least the threshold, the most probable first."""
        probabilities = self.output_for(opened, image, device).sigmoid()
        order = probabilities.argsort(descending=True).tolist()
        shares = probabilities.tolist()
        shown = [{"label": opened.class_name(i), "probability": shares[i]} for i in order if shares[i] >= threshold]
        words = ", ".join(f"{entry['label']} {entry['probability']:.1%}" for entry in shown)
        return Prediction({"labels": shown}, words or NOTHING_FOUND)
