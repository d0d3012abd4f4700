"""The cameras: the same for all pictures of a person, and doing what their ranges say."""

import dataclasses

import numpy as np
import pytest

from did.data import video
from did.standin.camera import PHONE, PRESS, STILL, VIDEO, Camera, save, shoot

PLAIN = Camera(gamma=(1, 1), blur=(0.01, 0.01), grid=(1, 1), grain=(0, 0))


def shot(camera, frames, taste=0, noise=0):
    return shoot(camera, frames, np.random.default_rng(taste), np.random.default_rng(noise))


def flat(level, size=64):
    return np.full((1, size, size, 3), level, np.uint8)


@pytest.mark.parametrize("camera", [VIDEO, PHONE, STILL, PRESS])
def test_taste_decides_the_camera_and_rng_its_noise(camera):
    picture = np.random.default_rng(5).integers(40, 200, (1, 64, 64, 3)).astype(np.uint8)
    first = shot(camera, picture).astype(int)
    assert np.array_equal(first, shot(camera, picture))
    other_noise = shot(camera, picture, noise=1)
    assert np.abs(first - other_noise).max() > 0 and np.abs(first.mean() - other_noise.mean()) < 1
    assert np.abs(first.mean() - shot(camera, picture, taste=1).mean()) > 1


def test_each_step_does_what_it_says():
    even = shot(dataclasses.replace(PLAIN, grain=(4, 4)), flat(128))[0].astype(float)
    assert (even - even.mean((0, 1))).std(axis=-1).max() < 1  # gray noise: only rounding differs by channel
    assert 3.5 < even.std(axis=(0, 1)).mean() < 4.5
    coloured = shot(dataclasses.replace(PLAIN, chroma=(4, 4)), flat(128))[0].astype(float)
    assert (coloured - coloured.mean((0, 1))).std(axis=-1).mean() > 1.5
    shot_noise = dataclasses.replace(PLAIN, grain=(4, 4), shot=True)
    dark, light = (shot(shot_noise, flat(level))[0].std(axis=(0, 1)).mean() for level in (40, 160))
    assert 1.7 < light / dark < 2.3  # the root of 4


def test_sharpening_lifts_an_edge_and_a_web_copy_softens_it():
    edge = flat(100)
    edge[:, :, 32:] = 150
    ranges = [np.ptp(shot(c, edge)) for c in (PLAIN, dataclasses.replace(PLAIN, sharpen=(1, 1)))]
    assert ranges[1] > ranges[0] + 10
    steps = [
        np.abs(np.diff(shot(c, edge)[0, :, :, 1].astype(int), axis=1)).max()
        for c in (PLAIN, dataclasses.replace(PLAIN, web=(0.5, 0.5), quality=(90, 90)))
    ]
    assert steps[1] < 0.7 * steps[0]


def test_a_web_copy_keeps_the_colours():
    red = flat(0)
    red[..., 0] = 180
    plain, copy = (shot(c, red)[0].mean((0, 1)) for c in (PLAIN, dataclasses.replace(PLAIN, quality=(95, 95))))
    assert np.allclose(plain, copy, atol=3)


@pytest.mark.parametrize(("suffix", "error"), [(".png", 0), (".jpg", 3), (".mp4", 4)])
def test_files_hold_the_frames(tmp_path, suffix, error):
    frames = np.zeros((2, 64, 64, 3), np.uint8) + np.array([200, 120, 40], np.uint8)
    file = tmp_path / f"a{suffix}"
    save(file, frames)
    found = video.read_frames(file, 9) if suffix == ".mp4" else [(0, video.read_image(file))]
    assert len(found) == (2 if suffix == ".mp4" else 1)
    assert np.abs(found[0][1].astype(int) - frames[0]).max() <= error
