"""Composed scenes with the exact truth about every pixel: real data for tasks, without a network."""

from refconv.training.data.scenes.making import ScenesRecord, make_scenes

__all__ = ["ScenesRecord", "make_scenes"]
