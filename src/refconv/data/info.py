"""What a data set says about itself."""

from __future__ import annotations

import dataclasses

from refconv.records import Record


@dataclasses.dataclass(frozen=True)
class DataInfo(Record):
    """The facts that models, recipes and reports need about a data set.

    Attributes:
        name: the name it was opened by.
        num_classes: how many classes there are.
        in_chans: channels of the tensors that come out.
        input_size: the shape of one sample, [C, H, W] or [C, L].
        mean: per channel, what was subtracted from values in [0, 1].
        std: per channel, what they were then divided by.
        class_names: one name per class, in the order of the labels.
        train_size: samples trained on, the validation split not among them.
        val_size: samples of the validation split.
        test_size: samples of the test split.
    """

    name: str
    num_classes: int
    in_chans: int
    input_size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    train_size: int
    val_size: int
    test_size: int
