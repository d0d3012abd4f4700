"""python benchmarks/predict.py [--seconds 30] [--pairs 3] [--frames 32] [--backbone tf_efficientnet_lite0]
                             [--quick] [--json [FILE]]

Faces per second of `did.predict` on one video, beside what one would write by hand: OpenCV, facenet-pytorch and the
backbone with a linear layer, one frame after the other. The video is H.264, 854×480 pixels, 25 frames/s: one drawn
person before a wall. First `--frames` evenly spaced frames, the two sides taking turns in one process; then all frames,
once, each side in a process of its own. Both must find the person on as many frames. Memory is that of a process of its
own and, for ours, of its child, which decodes. The network takes crops of 112 px, as at preset laptop; it is not
trained on faces, which costs the same.
"""

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import clips
import cv2
import torch
from facenet_pytorch import MTCNN
from PIL import Image
from side_by_side import Call, alone, as_fields, finish, memory, parser, take_turns

from did.data.video import evenly_spaced
from did.method.task import DIDTask
from did.predict import Detector
from did.rivals.bce import BCETask
from did.settings import Settings
from did.utils.distributed import device
from did_book.pages.costs import Row, row

OURS, THEIRS = "did.predict", "facenet-pytorch and the backbone frame by frame"
WEIGHTS = {"tf_efficientnet_lite0": "package"}


def ours(file: str, frames: int, settings: Settings) -> Call:
    known = {"temperature": 1.0, "threshold": 0.0}
    about = {"run": "untrained", "calibration": {"frame": known, "video": known}}
    detector = Detector(DIDTask(settings, 5).detector(), settings, about)
    return lambda: len(detector.predict_video(file, frames).faces)


def theirs(file: str, frames: int, settings: Settings) -> Call:
    mtcnn = MTCNN(image_size=settings.image_size, margin=26, post_process=False, device=device())
    network = BCETask(settings).detector().eval().to(device())

    @torch.inference_mode()
    def scores() -> int:
        capture, found = cv2.VideoCapture(file), []
        wanted = set(evenly_spaced(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), frames))
        for number in range(max(wanted) + 1):
            capture.grab()
            if number in wanted:
                image = Image.fromarray(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
                face = mtcnn(image)
                if face is not None:
                    gray = face.mean(0, keepdim=True)[None].to(device()) / 255
                    found.append(network(gray).item())
        return len(found)

    return scores


def side(name: str, file: str, frames: int, backbone: str) -> Call:
    """Build a side that scores the faces on evenly spaced frames of a video; it returns how many it found."""
    torch.manual_seed(0)
    settings = Settings.preset("laptop", backbone=backbone, pretrained=WEIGHTS.get(backbone, "none"))
    return {OURS: ours, THEIRS: theirs}[name](file, frames, settings)


def some(file: str, frames: int, backbone: str, pairs: int, case: str) -> tuple[Row, int]:
    """Time evenly spaced frames, the sides in turns, and count on how many of them both find the face."""
    calls = {name: side(name, file, frames, backbone) for name in (OURS, THEIRS)}
    faces = {name: call() for name, call in calls.items()}
    assert len(set(faces.values())) == 1, f"the two sides find other numbers of faces: {faces}"
    times = take_turns(*calls.values(), pairs, "some frames", warm=1)
    found = row("predict", f"{case}, {frames} frames", (OURS, THEIRS), "speed-up", times)
    held = memory(side, (OURS, file, frames, backbone), (THEIRS, file, frames, backbone), calls=1)
    return with_speed(found, faces[OURS], held), faces[OURS]


def every(file: str, frames: int, backbone: str, case: str) -> Row:
    """Time all frames once, each side in a process of its own, without the start of the process."""
    sides = [alone(side, (name, file, frames, backbone), calls=1) for name in (OURS, THEIRS)]
    times = [(sides[0][2], sides[1][2])]
    note = "one pair, each side in a process of its own"
    found = row("predict", f"{case}, all {frames} frames", (OURS, THEIRS), "speed-up", times, note=note)
    return with_speed(found, frames, as_fields(*sides))


def with_speed(found: Row, faces: int, held: dict) -> Row:
    held["more"] |= {"frames/s": tuple(faces / took for took in found.seconds)}
    return replace(found, **held)


def main() -> None:
    found = parser(__doc__)
    found.add_argument("--seconds", type=int, default=30, help="of the video")
    found.add_argument("--pairs", type=int, default=3)
    found.add_argument("--frames", type=int, default=32)
    found.add_argument("--backbone", default="tf_efficientnet_lite0")
    options = found.parse_args()
    if options.quick:
        options.seconds, options.pairs, options.frames, options.backbone = 1, 1, 4, "test_efficientnet"
    warnings.filterwarnings("ignore")
    total, size = 25 * options.seconds, (854, 480)
    case = f"{options.seconds} s of 854×480, {options.backbone}"
    with tempfile.TemporaryDirectory() as temporary:
        file = str(Path(temporary) / "clip.mp4")
        clips.write(Path(file), 0, total, size)
        first, faces = some(file, options.frames, options.backbone, options.pairs, case)
        print(f"both find the face on {faces} of {options.frames} frames")
        finish([first, every(file, total, options.backbone, case)], options)


if __name__ == "__main__":
    main()
