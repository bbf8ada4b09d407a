"""A user's dataset whose data workers are killed on the way, as by a kernel that is short of memory."""

import multiprocessing
import os
import signal
from pathlib import Path

import torch
from torch.utils.data import Dataset


class Deadly(Dataset):
    """Two classes of noise; a worker notes itself and its parent in ``$DEADLY`` and is killed at the third sample."""

    classes = ("one", "two")

    def __len__(self):
        return 40

    def __getitem__(self, index):
        if multiprocessing.current_process().daemon:
            for process in (os.getpid(), os.getppid()):
                Path(os.environ["DEADLY"], str(process)).touch()
            if index == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        generator = torch.Generator().manual_seed(index)
        return torch.randn(1, 8, 8, generator=generator), index % 2


def deadly():
    """Return the splits."""
    return {"train": Deadly(), "val": Deadly(), "test": Deadly()}
