"""python benchmarks/standins.py [--into FOLDER] [--quick] [--json [FILE]]

What the data of a book made from nothing takes at preset laptop: for each stand-in the drawing and forging of its
pictures, and the finding, aligning and cutting of its faces, as shares of the whole.
"""

import os
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from side_by_side import finish, parser
from tqdm.auto import tqdm

from did.errors import DidError
from did.paper.experiments import EXPERIMENTS
from did.settings import Settings
from did.sources import face_store, for_testing, open_source
from did_book.pages.costs import Row, row


def measure(preset: str, place: Path) -> list[Row]:
    """Make every stand-in that an experiment uses in an empty project folder, and time both halves of the work."""
    if place.exists() and any(place.iterdir()):
        raise DidError(f"{place} is not empty: name a new folder, so that nothing is at hand already")
    settings = Settings.preset(preset)
    trained = {what.train for what in EXPERIMENTS.values()}
    spent: dict[tuple[str, str], float] = {}
    names = sorted({name for what in EXPERIMENTS.values() for name in what.data})
    with patch.dict(os.environ, DID_HOME=str(place)):
        for name in tqdm(names, desc="stand-ins"):
            start = time.perf_counter()
            source = open_source(name, "stand-in", preset=preset, progress=False)
            drawn = time.perf_counter()
            face_store(source if name in trained else for_testing(source, settings), settings, progress=False)
            spent[source.label, "drawing and forging"] = drawn - start
            spent[source.label, "finding and cutting faces"] = time.perf_counter() - drawn
    whole = sum(spent.values())
    return [row("data from nothing", label, (stage, "all data"), "share", [(took, whole)],
                note=f"{took:.0f} s of {whole:.0f} s") for (label, stage), took in spent.items()]  # fmt: skip


if __name__ == "__main__":
    given = parser(__doc__)
    given.add_argument("--into", type=Path, help="an empty folder in which the data stay; by default they are removed")
    options = given.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows = measure("smoke" if options.quick else "laptop", options.into or Path(place))
    finish(rows, options)
