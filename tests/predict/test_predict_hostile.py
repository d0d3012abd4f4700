"""`did predict` on inputs that mean harm: an answer or a reason for each, in bounded time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hostile import Maker

#: Seconds that one input may take, on a busy machine, and bytes of the process and of its decoder, each.
SECONDS, MEMORY = 30, 3_000_000_000


def judged(run: Path, paths: list[Path], *options: str) -> tuple[list[dict], float, int]:
    """One process of `did predict`: its answers, the longest wait for one, and its peak of memory in bytes."""
    command = [sys.executable, "-m", "did.cli", "predict", *paths, "--run", run, "--json", "--quiet", *options]
    answers, longest = [], 0.0
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        last = time.monotonic()
        for number, line in enumerate(process.stdout):
            now = time.monotonic()
            longest, last = max(longest, now - last if number else 0), now
            answers.append(json.loads(line))
        errors = process.stderr.read().decode("utf-8", "replace")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    return answers, longest, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def check(answers: list[dict], paths: list[Path]) -> Counter:
    """An answer an input, in order, and a reason where there is no score."""
    assert [answer["input"] for answer in answers] == [str(path) for path in paths]
    for answer in answers:
        assert (answer["score"] is None) == (answer["status"] != "scored") == bool(answer["reason"]), answer
        # Neither an exception that nobody expected, nor a decoder that crashed.
        assert "cannot be judged" not in answer["reason"] and "crash" not in answer["reason"], answer
    return Counter(answer["status"] for answer in answers)


def check_pictures(answers: list[dict], once: dict[Path, str]) -> None:
    """Every score is from the right picture: another one in its file has another size, and its face another place."""
    right = [answer for answer in answers if once.get(Path(answer["input"])) == "scored"]
    right = [answer for answer in right if not answer["input"].endswith("-fifty.png")]
    assert len(right) > 1
    for answer in answers:
        sizes = {(frame["width"], frame["height"]) for frame in answer["frames"]}
        # Of a cover, a tile, or another video.
        assert answer["status"] != "scored" or (256, 256) not in sizes, answer
        if answer in right:
            box = answer["frames"][0]["faces"][0]["box"]
            away = max(abs(a - b) for a, b in zip(box, right[0]["frames"][0]["faces"][0]["box"], strict=True))
            assert sizes == {(192, 192)} and away < 15, answer
            assert len(answer["frames"]) == (2 if answer["kind"] == "video" else 1), answer


def test_forty_inputs(tiny_run, tmp_path):
    maker = Maker(tmp_path / "in")
    once = dict(list(maker.once())[::9])
    paths = [*once, *maker.damaged(25)]
    answers, longest, memory = judged(tiny_run.folder, paths)
    check(answers, paths)
    check_pictures(answers, once)
    found = {path: answer["status"] for path, answer in zip(paths, answers, strict=True)}
    assert {path.name: found[path] for path in once} == {path.name: status for path, status in once.items()}
    assert longest < SECONDS and memory < MEMORY


@pytest.mark.slow
def test_a_thousand_inputs(tiny_run, tmp_path, capsys):
    maker = Maker(tmp_path / "in", seed=1)
    once = dict(maker.once())
    paths = [*once, *maker.damaged(1000 - len(once))]
    begun = time.monotonic()
    answers, longest, memory = judged(tiny_run.folder, paths)
    counts = check(answers, paths)
    check_pictures(answers, once)
    found = {path: answer["status"] for path, answer in zip(paths, answers, strict=True)}
    assert {path.name: found[path] for path in once} == {path.name: status for path, status in once.items()}
    with capsys.disabled():
        print(
            f"\n{len(paths)} inputs, {len(once)} of them made once: {dict(counts)}; {time.monotonic() - begun:.0f} s, "
            f"longest {longest:.1f} s, peak {memory / 1e6:.0f} MB"
        )
    assert longest < SECONDS and memory < MEMORY


@pytest.mark.slow
def test_every_face_of_crowds_and_noise(tiny_run, tmp_path):
    maker = Maker(tmp_path / "in")
    wanted = ("fifty.png", "noise.png", "large.png", "ribbon.png", "turned-6.jpg")
    paths = [path for path, _ in maker.once() if path.name.endswith(wanted)]
    answers, longest, memory = judged(tiny_run.folder, paths, "--all-faces")
    check(answers, paths)
    faces = {Path(answer["input"]).name: len(answer["frames"][0]["faces"]) for answer in answers}
    assert faces["scored-fifty.png"] == 50
    assert longest < 2 * SECONDS and memory < MEMORY
