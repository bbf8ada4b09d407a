"""Regression: one or several numbers a sample."""
