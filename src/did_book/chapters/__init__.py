"""The experiments and figures of the chapters, one file a chapter."""
