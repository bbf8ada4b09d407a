"""Multi-label classification: several labels a sample, or none."""
