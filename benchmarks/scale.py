"""python benchmarks/scale.py [--videos 10 30 100 300 1000] [--figure scale.png] [--quick] [--json [FILE]]

Cost and memory of the preparation against the number of videos: each number in a process of its own with one worker a
core, on small H.264 clips (128×128, 8 frames, of which 4 are taken). Prints seconds, seconds a video beyond the start,
and the peak memory of all processes together; then what each further video takes up to the largest set, over
what it takes up to one of about a tenth: above 1, the cost would grow faster than the data.
"""

import multiprocessing
import os
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from matplotlib.figure import Figure
from side_by_side import finish, parser

from did.data import prepare, table, video
from did.standin.animate import animate
from did.standin.drawn import DrawnBank
from did.utils.workers import cores
from did_book.pages.costs import Row, row


def index_of(folder: Path, videos: int) -> pd.DataFrame:
    rows = []
    for number in range(videos):
        label = number % 2
        path = folder / f"{number:05d}.mp4"
        if not path.exists():
            os.link(folder / f"clip{number % 4}.mp4", path)
        rows.append(
            {"path": path.name, "label": label, "method": "fake" if label else "real", "split": "test",
             "video": path.stem, "identity": path.stem, "frame": pd.NA, "dataset": "clips"}
        )  # fmt: skip
    return table.make_table(rows)


def peak_memory(stop: threading.Event, result: list[float]) -> None:
    """Return the largest sum of the proportional memory of this process and its children, in MiB."""
    while not stop.wait(0.1):
        total = 0
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
        result[0] = max(result[0], total / 2**20)


def measure(folder: Path, videos: int, queue: multiprocessing.Queue) -> None:
    warnings.filterwarnings("ignore")
    index = index_of(folder, videos)
    stop, peak = threading.Event(), [0.0]
    watch = threading.Thread(target=peak_memory, args=(stop, peak))
    watch.start()
    start = time.perf_counter()
    prepare.prepare(index, folder, folder / f"store{videos}", 4, 112, workers=cores(), progress=False)
    seconds = time.perf_counter() - start
    stop.set()
    watch.join()
    queue.put((seconds, peak[0]))


def main() -> None:
    found = parser(__doc__)
    found.add_argument("--videos", type=int, nargs="+", default=[10, 30, 100, 300, 1000])
    found.add_argument("--figure", type=Path)
    options = found.parse_args()
    if options.quick:
        options.videos = [2, 8, 20]
    context = multiprocessing.get_context("spawn")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for person in range(4):
            clip = animate(DrawnBank(5).still(person), np.random.default_rng(person), 8, 128)
            video.write_clip(folder / f"clip{person}.mp4", clip.frames)
        for videos in options.videos:
            queue = context.Queue()
            process = context.Process(target=measure, args=(folder, videos, queue))
            process.start()
            rows.append((videos, *queue.get()))
            process.join()
            print(f"{videos} videos: {rows[-1][1]:.1f} s, {rows[-1][2]:.0f} MiB", flush=True)
    data = pd.DataFrame(rows, columns=["videos", "seconds", "MiB"])
    slope, start = np.polyfit(data.videos, data.seconds, 1)
    left = data.seconds - (start + slope * data.videos)
    print(data.assign(**{"ms a video": 1000 * (data.seconds - start) / data.videos}).round(1).to_string(index=False))
    print(f"{1000 * slope:.1f} ms a video + {start:.1f} s; largest distance from the line {left.abs().max():.1f} s")
    if options.figure:
        figure = Figure(figsize=(8, 3), layout="constrained")
        for axis, name in zip(figure.subplots(1, 2), ("seconds", "MiB"), strict=True):
            axis.plot(data.videos, data[name], "o-")
            axis.set(xlabel="videos", ylabel=name, ylim=(0, None))
        figure.savefig(options.figure)
    finish([growth(data)], options)


def growth(data: pd.DataFrame) -> Row:
    """Compute how the seconds per further video grow from the small sets to the largest set."""
    ends = data.sort_values("videos").reset_index(drop=True)
    few = int((ends.videos[1:-1] - ends.videos.iloc[-1] / 10).abs().idxmin())
    at = [0, few, len(ends) - 1]
    slopes = np.diff(ends.seconds[at]) / np.diff(ends.videos[at])
    sides = tuple(f"each further video up to {ends.videos[place]}" for place in (at[2], at[1]))
    held = tuple(float(ends.MiB[place]) for place in (at[2], at[1]))
    note = "seconds are those of a video; memory is that of all processes"
    times = [(slopes[1], slopes[0])]
    return row("growth of preparation", "128×128, 4 frames per video", sides, "cost", times, memory=held, note=note)


if __name__ == "__main__":
    main()
