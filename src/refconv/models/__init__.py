"""Models: builders, weights, model folders, checkpoints of runs, detectors, segmenters and restorers."""
