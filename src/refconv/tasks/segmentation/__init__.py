"""Segmentation: one label a pixel."""
