"""Where a run's metrics go beside its own folder: one small interface, and one class for each place."""
