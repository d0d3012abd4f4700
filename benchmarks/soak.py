"""python benchmarks/soak.py [--images 10000] [--run RUN]

Does memory stay flat? `did.predict` on so many pictures in one process: drawn people, each picture with a shift, a
brightness and a quality of its own, one in fifty without a face and one in fifty damaged. Prints the memory in use of
the process and of its decoder as it goes. On Linux.
"""

import argparse
import io
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from did.method.task import DIDTask
from did.predict import Detector, inputs
from did.settings import Settings
from did.standin.drawn import draw

SIZE, PEOPLE = 160, 40


def untrained() -> Detector:
    """Build a small untrained detector: its answers do not matter here."""
    settings, level = Settings.preset("smoke"), {"temperature": 1.0, "threshold": 0.0}
    about = {"run": "untrained", "calibration": {"frame": level, "video": level}}
    return Detector(DIDTask(settings, 5).detector(), settings, about)


def pictures(count: int, folder: Path) -> Iterator[tuple[Path, str]]:
    """Write the files that are scored."""
    rng = np.random.default_rng(0)
    people = [Image.fromarray(draw(np.random.default_rng(n)).image).resize((SIZE, SIZE)) for n in range(PEOPLE)]
    for number in range(count):
        pixels = np.roll(np.asarray(people[number % PEOPLE]), int(rng.integers(-8, 9)), 1)
        image = Image.fromarray(np.clip(pixels * rng.uniform(0.8, 1.2), 0, 255).astype(np.uint8))
        if number % 50 == 1:
            image = Image.new("RGB", (SIZE, SIZE), "gray")
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(60, 96)))
        content = buffer.getvalue()
        file = folder / f"{number:06d}.jpg"
        file.write_bytes(content[: len(content) // 3] if number % 50 == 2 else content)
        yield file, ""
        file.unlink()


def in_use(process: int | str) -> float:
    """Return the memory of a process, in MB."""
    (line,) = [x for x in Path(f"/proc/{process}/status").read_text().splitlines() if x.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--run", help="a run, or an exported detector; by default an untrained one")
    given = parser.parse_args()
    detector = Detector.load(given.run) if given.run else untrained()
    print(f"{'images':>7} {'process':>9} {'decoder':>9} {'minutes':>8}", flush=True)
    print(f"{0:>7} {in_use('self'):>6.0f} MB", flush=True)
    begun, counts = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for number, judged in enumerate(inputs.judge(detector, pictures(given.images, Path(folder))), 1):
            counts[judged.answer.status] += 1
            if number in (1, 100, 500) or number % 1000 == 0 or number == given.images:
                child = detector.reader._child
                memory = f"{in_use('self'):>6.0f} MB {in_use(child.pid) if child else 0:>6.0f} MB"
                print(f"{number:>7} {memory} {(time.monotonic() - begun) / 60:>8.1f}", flush=True)
    print(", ".join(f"{n} {status}" for status, n in counts.items()))


if __name__ == "__main__":
    main()
