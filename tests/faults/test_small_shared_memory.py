"""A container's small shared memory: data workers go on without it, and the result is the same."""

import shutil
import subprocess
import sys

import pytest

from image_folders import two_classes
from refconv.engine import RunRecord

pytestmark = pytest.mark.faults
CONFINED = 'mount -t tmpfs -o size=256k tmpfs /dev/shm && exec "$@"'


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0,
    reason="a file system of one's own takes unshare and its rights",
)
def test_training_goes_on_to_the_same_result(tmp_path, figures):
    two_classes(tmp_path / "data", (160, 160), count=8)
    command = [
        sys.executable, "-m", "refconv", "train", "--model", "test_resnet", "--data", f"folder:{tmp_path / 'data'}",
        "--batch-size", "4", "--epochs", "1", "--workers", "2", "--device", "cpu", "--out",
    ]  # fmt: skip
    whole = subprocess.run([*command, tmp_path / "whole"], capture_output=True, text=True, timeout=300)
    small = subprocess.run(
        ["unshare", "-m", "bash", "-c", CONFINED, "bash", *command, tmp_path / "small"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert whole.returncode == small.returncode == 0, small.stderr
    assert small.stderr.count("the shared memory of this machine is full") == 1
    assert "shared memory" not in whole.stderr
    records = [RunRecord.read(tmp_path / name / "record.json") for name in ("whole", "small")]
    assert records[0].train_loss == records[1].train_loss
    assert records[0].loss == records[1].loss
    figures("a small shared memory is said once, and training goes on to the same result", 1, 1)
