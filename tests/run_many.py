"""Runs of one to three processes, started by tests/faults/test_many_processes.py: ``run_many.py FOLDER KIND``.

All runs of one kind follow one another in the same processes, each into FOLDER/KIND/PROCESSES/NAME.
"""

import os
import shutil
import signal
import sys
import zlib
from pathlib import Path

import torch
from torch import nn

from leaving_together import leave_together
from refconv.engine import Recipe, train
from refconv.engine.epochs import Loop
from refconv.engine.stepping import Stepper
from refconv.errors import DataError, RefconvError
from refconv.process import distributed
from refconv.surgery import plain_state_dict

STEP = Stepper.step

# Without batch norm, so that a sample's gradient does not depend on the others; with its momentum, seeds and shares.
PLAIN = {
    "model": "run_many:Plain", "data": "digits", "img_size": 8, "opt": "momentum", "lr": 0.02, "weight_decay": 1e-3,
    "epochs": 2, "epoch_steps": 3, "batch_size": 32, "val_split": 0.1, "log_interval": 1, "device": "cpu", "test": True,
}  # fmt: skip
KERNEL, GRADIENT = {"method": "refocus", "space": "kernel"}, {"method": "refocus", "space": "gradient"}
NORMS = {"model": "refconv.models.networks:mobilenet_small", "model_kwargs": {"width": 0.25}, "sync_bn": True}
HEADS = {
    f"boxes, {head}": {
        "task": "detection", "model": f"detector:{head}", "backbone": "test_resnet", "img_size": 64, "epochs": 1,
        "data": "scenes:{data}/scenes", "batch_size": 7, "epoch_steps": 2, "val_split": 0.0, "sync_bn": True,
    }
    for head in ("retinanet", "ssdlite", "fcos")
}  # fmt: skip
EQUAL = {
    "plain": {},
    "kernel space": {**KERNEL, "start": "kaiming"},
    "kernel space, adamw": {**KERNEL, "opt": "adamw", "lr": 1e-3},
    "gradient space": {**GRADIENT, "start": "kaiming"},
    "gradient space, clipped": {**GRADIENT, "clip_grad": 0.05},
    "average, clipped": {"model_ema": True, "model_ema_decay": 0.8, "clip_grad": 0.05},
    "accumulated": {"batch_size": 30, "grad_accum_steps": 3, **GRADIENT},
    "parts smaller than the processes": {"batch_size": 10, "grad_accum_steps": 5},
    "the only batch": {"batch_size": 2000, "epoch_steps": None},
    "mixup": {"mixup": 0.4},
    "mixup, cutmix, by sample": {"mixup": 0.4, "cutmix": 1.0, "mixup_mode": "elem", "batch_size": 20},
    "cutmix, by pair, accumulated": {"cutmix": 1.0, "mixup_mode": "pair", "batch_size": 24, "grad_accum_steps": 2},
    "a pair less than the processes": {"mixup": 0.4, "mixup_mode": "elem", "batch_size": 4},
    "augmented, repeated": {"re_prob": 0.5, "pad_crop": 1, "hflip": 0.5, "aug_repeats": 3.0},
    "weighted classes": {"loss": "cross_entropy", "loss_kwargs": {"weight": [float(1 + n % 4) for n in range(10)]}},
    "batch norms": NORMS,
    "batch norms, average, accumulated, gradient space": {
        **NORMS, **GRADIENT, "model_ema": True, "model_ema_decay": 0.8, "batch_size": 30, "grad_accum_steps": 3,
    },
    "bf16": {"amp": True},
    "bf16, batch norms": {**NORMS, "amp": True},
    "ignored pixels": {
        "task": "segmentation", "model": "run_many:Maps", "data": "masks:{data}/masks", "ignore_index": 2, "lr": 0.1,
        "img_size": None, "batch_size": 4, "epoch_steps": 2, "val_split": 0.0,
    },
    **HEADS,
    "unknown values": {
        "task": "regression", "data": "table:{data}/table/values.csv", "batch_size": 8, "val_split": 0.0,
    },
    "compared samples": {"task": "embedding", "loss": "triplet", "num_classes": 4, "batch_size": 16},
    "compared samples, by class": {
        "task": "embedding", "loss": "multi_similarity", "num_classes": 4, "batch_size": 16, "samples_per_class": 4,
    },
}  # fmt: skip


class Plain(nn.Module):
    """A small classifier of images without norms, with depthwise kernels and ones of all channels."""

    def __init__(self, num_classes=10, in_chans=1):
        super().__init__()
        self.stem, self.act = nn.Conv2d(in_chans, 8, 3, padding=1), nn.SiLU()
        self.depthwise, self.dense = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 3, stride=2)
        self.classifier = nn.Linear(8, num_classes)

    def forward(self, images):
        features = self.act(self.stem(images))
        features = self.act(self.dense(self.act(self.depthwise(features) + features)))
        return self.classifier(features.mean((2, 3)))


class Dropped(Plain):
    """The same with dropout, whose masks have the shape of a share."""

    def forward(self, images):
        return super().forward(nn.functional.dropout(images, 0.2, self.training))


class Maps(nn.Module):
    """A small segmenter without norms."""

    def __init__(self, num_classes=3, in_chans=3):
        super().__init__()
        self.body, self.act = nn.Conv2d(in_chans, 6, 3, padding=1), nn.SiLU()
        self.head = nn.Conv2d(6, num_classes, 3, padding=1)

    def forward(self, images):
        return self.head(self.act(self.body(images)))


def recipe(folder, **settings):
    values = {**PLAIN, **settings}
    values["data"] = values["data"].format(data=folder / "data")
    return Recipe(**values)


DIFFERENT = {
    "batch norms of each share": {**NORMS, "sync_bn": False},
    "dropout of each share": {"model": "run_many:Dropped"},
}  # fmt: skip


def equal(folder, out):
    """Train all runs, and keep the weights that each began with."""
    save = Loop._save

    def kept(self, *arguments):
        save(self, *arguments)
        if self.step == 0 and self.processes.first:
            torch.save(plain_state_dict(self.stepper.model), self.folder.path / "start.pt")

    Loop._save = kept
    for name, settings in {**EQUAL, **DIFFERENT}.items():
        train(recipe(folder, **settings), out / name, show=False)


RESUMED = {"epochs": 2, "epoch_steps": 4, "checkpoint_interval": 3, "aug_repeats": 2.0, "re_prob": 0.3, **GRADIENT}


def keep_middle(out):
    """Keep from now on the weights that a run begins with, and its folder as it is at the checkpoint of step 3."""
    save = Loop._save

    def kept(self, *arguments):
        save(self, *arguments)
        if self.step == 0 and self.processes.first:
            torch.save(plain_state_dict(self.stepper.model), self.folder.path / "start.pt")
        if self.step == 3 and self.processes.first:
            shutil.copytree(self.folder.path, out / "middle")

    Loop._save = kept


def resumed(folder, out):
    """Train whole, and keep the folder as it was at the checkpoint of step 3, in the middle of an epoch."""
    keep_middle(out)
    note_samples(out, "whole")
    train(recipe(folder, **RESUMED), out / "whole", show=False)


def resumed_heads(folder, out):
    """Train detectors whole, in one of the spaces, and go on from the middle of their last epoch."""
    save, settings = Loop._save, {"epochs": 2, "epoch_steps": 2, "checkpoint_interval": 3, "hflip": 0.5, "lr": 5e-3}
    method = GRADIENT if out.name == "3" else {**KERNEL, "model_ema": True}
    for name, head in HEADS.items():
        values, place = {**head, **method, **settings}, out / name
        keep_middle(place)
        train(recipe(folder, **values), place / "whole", show=False)
        Loop._save = save
        train(recipe(folder, **values), place / "middle", resume=True, show=False)


def going_on(folder, out):
    """Go on from the checkpoints that each number of processes has written."""
    for other in sorted((folder / "resumed").iterdir()):
        note_samples(out, f"from {other.name}")
        train(recipe(folder, **RESUMED), out / f"from {other.name}", resume=True, show=False)


def note_samples(out, name):
    """Note from now on which samples each step has, in a file of each process."""
    out.mkdir(parents=True, exist_ok=True)

    def noted(self, number, parts):
        with (out / f"{name}, process {self._processes.rank}.txt").open("a") as file:
            for samples, _ in parts:
                file.writelines(f"{number} {zlib.crc32(sample.numpy().tobytes())}\n" for sample in samples)
        return STEP(self, number, parts)

    Stepper.step = noted


FAILING = {"epochs": 2, "epoch_steps": 10, "checkpoint_interval": 2}


def failing(folder, out, how):
    """Fail in the last process after step 5: by an error of ours, another one, a signal, or by never going on."""
    step = Loop._step
    rank, last = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]) - 1
    who = 0 if how.startswith("first") else last

    def fails(self, batches):
        if self.step == 5 and rank == who:
            if how.endswith("bad sample"):
                raise DataError("cannot read the image", where="a.png")
            if how.endswith("exception"):
                raise IndexError("nothing there")
            if how.endswith("killed"):
                os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()
        return step(self, batches)

    Loop._step = fails
    if how == "hangs":
        distributed.PATIENCE = distributed.timedelta(minutes=0.15)
    try:
        train(recipe(folder, **FAILING), out, show=False)
    except RefconvError as error:
        sys.stderr.write(f"refconv: {error}\n")
        sys.exit(2)


def main():
    torch.set_num_threads(1)
    folder, kind, *more = sys.argv[1:]
    folder, count = Path(folder), os.environ["WORLD_SIZE"]
    if kind == "failing":
        failing(folder, folder / "run", *more)
        return
    if count != "1":
        torch.distributed.init_process_group("gloo")
    {"equal": equal, "resumed": resumed, "going on": going_on, "heads": resumed_heads}[kind](
        folder, folder / kind / count
    )
    leave_together()


if __name__ == "__main__":
    main()
