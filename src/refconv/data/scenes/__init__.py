"""Composed scenes with the exact truth about every pixel: real data for tasks, without a network."""

from refconv.data.scenes.making import ScenesRecord, default_folder, make_scenes, scenes_folder

__all__ = ["ScenesRecord", "default_folder", "make_scenes", "scenes_folder"]
