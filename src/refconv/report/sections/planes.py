"""Taps of a kernel as rows that can be drawn."""

from __future__ import annotations
