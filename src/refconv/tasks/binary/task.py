"""Binary classification with one logit, such as real or fake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from refconv.data import Data
from refconv.data.preprocessing import Statement
from refconv.data.targets import Wanted
from refconv.models.opening import Opened
from refconv.recipe.recipe import Recipe
from refconv.tasks.binary.evaluation import evaluation_of
from refconv.tasks.evaluation import Evaluation
from refconv.tasks.multilabel.task import Multilabel
from refconv.tasks.task import Prediction, Source

if TYPE_CHECKING:
    from PIL import Image


class Binary(Multilabel):
    """One logit, of the positive class: binary cross-entropy, AUC, average precision, accuracy, F1."""

    name = "binary"

    def wanted(self, positive: str | None) -> Wanted:
        """Return that one label is wanted: that of the class ``positive``, by default the second of two."""
        return Wanted("labels", one=True, positive=positive)

    def open_data(self, recipe: Recipe, model: Statement | None = None) -> Data:
        """Open the data, and say which class is the positive one."""
        return _said(super().open_data(recipe, model))

    def open_for(self, opened: Opened, source: Source) -> Data:
        """Open data with the positive class of a model."""
        return _said(super().open_for(opened, source))

    def evaluation(self, outputs: Tensor, targets: Tensor, data: Data) -> Evaluation:
        """Return the evaluation of outputs and targets of a split."""
        return evaluation_of(outputs, targets)

    def predict(
        self, opened: Opened, image: Image.Image | Tensor, *, device: torch.device, threshold: float
    ) -> Prediction:
        """Return the probability of the positive class, and whether it reaches the threshold."""
        share = float(self.output_for(opened, image, device).sigmoid()[0])
        name = opened.class_names[0] if opened.class_names else "positive"
        content = {"label": name, "probability": share, "positive": share >= threshold}
        return Prediction(content, f"{'' if share >= threshold else 'not '}{name} ({name} {share:.1%})")


def _said(data: Data) -> Data:
    data.remark = f"{data.info.class_names[0]} is positive, others are negative"
    return data
