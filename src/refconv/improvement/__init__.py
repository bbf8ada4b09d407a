"""Improve a trained network: try ways to train it further within one budget, and ship the best certified result."""

from __future__ import annotations

from refconv.improvement.config import Budget, ImproveConfig
from refconv.improvement.improving import improve_recipe
from refconv.improvement.own import improve
from refconv.improvement.record import ImproveRecord

__all__ = ["Budget", "ImproveConfig", "ImproveRecord", "improve", "improve_recipe"]
