"""The tables and figures of the paper: published numbers, experiments, records and verdicts."""
