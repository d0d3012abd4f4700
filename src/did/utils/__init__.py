"""Files, checkpoints and processes."""
