"""Records of measures, statistics and verdicts: written by analysis, read by report; no torch."""
