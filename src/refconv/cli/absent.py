"""Flags of other training programs: those that mean the same here, and those of timm's train.py that are absent."""

from __future__ import annotations

USUAL = {
    "--learning-rate": "--lr", "--base-lr": "--lr", "--optimizer": "--opt", "--scheduler": "--sched",
    "--wd": "--weight-decay", "--num-workers": "--workers", "--data-path": "--data-dir", "--arch": "--model",
    "--output-dir": "--out", "--ema": "--model-ema", "--image-size": "--img-size", "--imgsz": "--img-size",
    "--label-smoothing": "--smoothing",
}  # fmt: skip
"""Flags of other programs, and those that mean the same here."""

_SPLITS = "the data decides: train, and val, validation or test beside it"
_OWN_DATA = "bring it in datasets of your own: --data MODULE:FUNCTION"
_OWN_MODEL = "do it in a builder of your own: --model MODULE:FUNCTION"
_ONE_SIZE = "training images have one size, --img-size"
_FEATURES = "attention maps are compared, which need no equal widths: --distill-features"
_OUTPUTS = "--distill compares outputs, --distill-features layers"
_ALPHA = "--distill-alpha is the teacher's weight, and 1 minus it the weight of the task's loss"
_ERASING = "random erasing sets one rectangle to the mean: --re-prob"
_LOADER = "the loader decides this itself: --workers"
_COLOURS = "--color-jitter changes every image, and --aa names policies, such as 3a, with these changes"

ABSENT = {
    "--config": "--recipe FILE reads settings from TOML",
    "-c": "--recipe FILE reads settings from TOML",
    "--train-split": _SPLITS,
    "--train-num-samples": "samples are counted; --epoch-steps gives an epoch fewer steps",
    "--val-num-samples": "all samples of the validation split are evaluated",
    "--dataset-download": "data of torch/NAME that torchvision can download is downloaded",
    "--input-img-mode": "--in-chans 1 reads images as grey, 3 as colour",
    "--input-key": "the first column of images is read; " + _OWN_DATA,
    "--target-key": "the first column of classes is read; " + _OWN_DATA,
    "--dataset-trust-remote-code": "no code of data sets is run; " + _OWN_DATA,
    "--pretrained-path": "--checkpoint FILE, with --reset-classifier where the classes are others",
    "--no-resume-opt": "--resume goes on exactly; to begin anew from weights give --checkpoint RUN and another --out",
    "--fuser": "--compile compiles the model",
    "--fast-norm": "--amp computes in bf16 where that is safe",
    "--head-init-scale": _OWN_MODEL,
    "--head-init-bias": _OWN_MODEL,
    "--torchcompile-mode": "--compile uses torch's default mode",
    "--torchscript": "train, and then write the result by refconv export --format torchscript",
    "--torchcompile": "--compile compiles the model",
    "--model-dtype": "parameters are float32; --amp computes in bf16 where that is safe",
    "--no-ddp-bb": "buffers are never broadcast in a step; evaluation and checkpoints use those of the first process",
    "--synchronize-step": "losses are waited for every ten steps on an accelerator",
    "--local-rank": "torchrun says it by a variable",
    "--device-modules": _OWN_MODEL,
    "--layer-decay-min-scale": "--layer-decay alone scales the learning rates of layers",
    "--layer-decay-no-opt-scale": "--layer-decay alone scales the learning rates of layers",
    "--sched-on-updates": "the schedule sets the learning rate of every step",
    "--epoch-repeats": "give more --epochs",
    "--start-epoch": "--resume goes on where the run stopped",
    "--patience-epochs": "no schedule here waits for a plateau, as runs do not depend on evaluations",
    "--train-crop-mode": "--scale crops at random as timm's rrc does, --pad-crop at full size",
    "--color-jitter-prob": _COLOURS,
    "--grayscale-prob": _COLOURS,
    "--gaussian-blur-prob": _COLOURS,
    "--aug-splits": _OWN_DATA,
    "--jsd-loss": "give a loss of your own: --loss MODULE:FUNCTION",
    "--remode": _ERASING,
    "--recount": _ERASING,
    "--resplit": _ERASING,
    "--cutmix-minmax": "--cutmix draws the area from its beta distribution",
    "--mixup-off-epoch": "mixup and cutmix stay on to the end",
    "--dist-bn": "evaluation and checkpoints use the statistics of the first process; --sync-bn computes those of all",
    "--split-bn": _OWN_MODEL,
    "--model-ema-force-cpu": "the average is kept on the model's device",
    "--worker-seeding": "each sample is seeded by seed, epoch and index, whatever worker makes it",
    "--checkpoint-hist": "one resumable checkpoint is kept; --snapshots N keeps the weights of the last epochs",
    "--save-images": _OWN_DATA,
    "--pin-mem": _LOADER,
    "--no-prefetcher": _LOADER,
    "--use-multi-epochs-loader": _LOADER,
    "--eval-metric": "no epoch is chosen by a measure: the last weights are shipped, or their average by --model-ema",
    "--tta": "each image is evaluated once",
    "--wandb-resume-id": "--resume goes on with the run's own log",
    "--train-img-sizes": _ONE_SIZE,
    "--train-batch-sizes": _ONE_SIZE,
    "--train-size-probs": _ONE_SIZE,
    "--train-size-schedule": _ONE_SIZE,
    "--train-size-schedule-spread": _ONE_SIZE,
    "--train-size-random-mix": _ONE_SIZE,
    "--train-batches-per-epoch": "--epoch-steps counts the optimizer's steps in an epoch",
    "--train-steps-per-epoch": "--epoch-steps counts the optimizer's steps in an epoch",
    "--variable-batch-loss-scale": _ONE_SIZE,
    "--naflex-loader": _ONE_SIZE,
    "--naflex-train-seq-lens": _ONE_SIZE,
    "--naflex-max-seq-len": _ONE_SIZE,
    "--naflex-patch-sizes": _ONE_SIZE,
    "--naflex-patch-size-probs": _ONE_SIZE,
    "--naflex-loss-scale": _ONE_SIZE,
    "--naflex-patchify-channels-first": _ONE_SIZE,
    "--kd-distill-type": _OUTPUTS,
    "--kd-loss-type": "classes are compared by the divergence of their probabilities",
    "--distill-loss-weight": _ALPHA,
    "--task-loss-weight": _ALPHA,
    "--kd-student-feature-dim": _FEATURES,
    "--kd-teacher-feature-dim": _FEATURES,
    "--kd-token-distill-type": _OUTPUTS,
}
"""Flags of timm's train.py that are not here, and what there is instead."""
