"""A run that takes half a second: two epochs of three steps, with checkpoints, a snapshot and validation."""

NETWORK = ["--model", "refconv.models.networks:mobilenet_small", "--model-kwargs", "width=0.125"]
TRAIN = [
    "train", *NETWORK, "--data", "digits", "--epochs", "2", "--epoch-steps", "3", "--batch-size", "16",
    "--log-interval", "1", "--checkpoint-interval", "2", "--device", "cpu", "--snapshots", "1", "--val-split", "0.05",
]  # fmt: skip
