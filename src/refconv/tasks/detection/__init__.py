"""Detection: boxes and labels."""
