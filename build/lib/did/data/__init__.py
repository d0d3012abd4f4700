"""From video files on disk to batches of face crops: one table, one path, whatever the data set."""
