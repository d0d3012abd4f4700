"""A data set of your own: a folder with videos.csv, whose columns are file, method (or "real"), split and person.

did train mine --root /path/to/it --plugin examples/dataset.py
"""

import csv
from pathlib import Path

import did
from did.data.table import REAL, make_table


@did.register_layout
class Mine:
    NAME, TITLE = "mine", "my videos"

    @staticmethod
    def index(root, strict=False):
        with (Path(root) / "videos.csv").open(newline="", encoding="utf-8") as file:
            return make_table(
                {"path": row["file"], "label": int(row["method"] != REAL), "method": row["method"], "frame": None,
                 "split": row["split"], "video": row["file"], "identity": row["person"], "dataset": Mine.NAME}
                for row in csv.DictReader(file)
            )  # fmt: skip
