"""One training loop for every task, and runs with their records."""
