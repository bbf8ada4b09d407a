"""Devices, processes, seeds, signals and progress."""
