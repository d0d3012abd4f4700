"""DFFD's stand-in methods: the mask's promise, the traces of each upsampling, faces that are still faces."""

from __future__ import annotations

import numpy as np
import pytest

from did.standin.animate import Clip, animate
from did.standin.drawn import DrawnBank
from did.standin.landmarks import five_points
from did.standin.portraits import find_face
from did.standin.synthesis import (
    METHODS_DFFD,
    Network,
    Style,
    generate,
    hair,
    match_spectrum,
    morph,
    octaves,
    transposed_convolution,
)

EDITS = ("faceapp", "stargan")
WHOLE = ("pggan_v1", "pggan_v2", "stylegan_celeba", "stylegan_ffhq")


@pytest.fixture(scope="module")
def clips():
    bank = DrawnBank(3)
    return [animate(bank.still(k), np.random.default_rng(k), 2, 256) for k in range(2)]


def forge(method: str, target: Clip, donor: Clip, seed: int = 0):
    return METHODS_DFFD[method](target, donor, np.random.default_rng(seed))


def wave(size: int, cycles: int) -> np.ndarray:
    """(size, size, 3): upright stripes."""
    line = 128 + 60 * np.cos(2 * np.pi * cycles * np.arange(size) / size)
    return np.broadcast_to(line[None, :, None], (size, size, 3)).astype(np.float32)


def amplitude(image: np.ndarray, cycles: int) -> float:
    """Of the stripes with so many cycles, in the red channel."""
    return float(2 * np.abs(np.fft.fft(image[..., 0].mean(axis=0))[cycles]) / len(image))


def test_methods_are_those_of_dffd_in_order():
    assert tuple(METHODS_DFFD) == EDITS + WHOLE


@pytest.mark.parametrize("method", EDITS + WHOLE)
def test_same_seed_same_frames_and_another_seed_others(clips, method):
    forged, masks = forge(method, *clips)
    again, masks_again = forge(method, *clips)
    assert forged.shape == clips[0].frames.shape and forged.dtype == np.uint8
    assert masks.shape == forged.shape[:3] and masks.dtype == np.float32
    assert np.array_equal(forged, again) and np.array_equal(masks, masks_again)
    assert not np.array_equal(forged, forge(method, *clips, seed=1)[0])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("method", EDITS)
def test_edit_changes_what_its_mask_says_and_nothing_else(clips, method, seed):
    forged, masks = forge(method, *clips, seed=seed)
    change = np.abs(forged.astype(int) - clips[0].frames).max(-1)
    assert masks.min() == 0 and masks.max() <= 1
    assert change[masks == 0].max() == 0
    assert 2 < change[masks > 0.9].mean() < 30
    assert 0.05 < (masks > 0.5).mean() < 0.6


@pytest.mark.parametrize("method", EDITS)
def test_edit_does_not_look_at_the_donor(clips, method):
    target, donor = clips
    assert np.array_equal(forge(method, target, donor)[0], forge(method, target, target)[0])


@pytest.mark.parametrize("method", WHOLE)
def test_whole_picture_shows_neither_of_the_two(clips, method):
    target, donor = clips
    forged, masks = forge(method, target, donor)
    assert (masks == 1).all()
    face = np.s_[90:200, 80:176]
    for person in clips:
        assert 5 < np.abs(forged[0][face].astype(int) - person.frames[0][face]).mean() < 100
    for black in (0, 1):
        pair = [Clip(np.zeros_like(c.frames), c.points, c.expression) if k == black else c for k, c in enumerate(clips)]
        assert not np.array_equal(forge(method, *pair)[0], forged)


@pytest.mark.parametrize("size", [96, 300])
@pytest.mark.parametrize("method", EDITS + WHOLE)
def test_other_sizes_of_frames(method, size):
    pair = [animate(DrawnBank(3).still(k), np.random.default_rng(k), 1, size) for k in range(2)]
    forged, masks = forge(method, *pair)
    assert forged.shape == (1, size, size, 3) and masks.shape == (1, size, size)


@pytest.mark.parametrize("method", EDITS + WHOLE)
def test_mtcnn_finds_the_face_in_its_place(clips, method):
    forged, _ = forge(method, *clips)
    found = find_face(forged[0])
    assert found is not None
    between = [five_points(clip.points[0]) for clip in clips]
    unit = np.linalg.norm(between[0][1] - between[0][0])
    assert min(np.abs(found - w * between[0] - (1 - w) * between[1]).max() for w in np.linspace(0, 1, 11)) < 0.3 * unit


def test_morph_is_between_the_two(clips):
    host, guest = clips
    picture, points = morph(host, guest, 0, 0.0)
    assert np.abs(picture.astype(int) - host.frames[0]).mean() < 1
    assert np.allclose(points, host.points[0])
    assert np.allclose(morph(host, guest, 0, 0.25)[1], 0.75 * host.points[0] + 0.25 * guest.points[0])


def test_hair_is_above_the_eyes_and_not_on_the_face(clips):
    mask = hair(clips[0].frames[0], clips[0].points[0])
    assert mask.max() > 0.5
    assert mask[130:180, 110:146].max() == 0
    assert mask[:, :5].max() == 0
    plain = np.full((256, 256, 3), (180, 140, 120), np.uint8)
    assert hair(plain, clips[0].points[0]).max() == 0


def test_transposed_convolution_is_the_plain_loop():
    rng = np.random.default_rng(0)
    maps, kernel = rng.random((3, 5, 2), np.float32), rng.random((4, 4), np.float32)
    padded = np.pad(maps, ((1, 1), (1, 1), (0, 0)), "edge")
    wide = np.zeros((12, 16, 2))
    for i in range(5):
        for j in range(7):
            for a in range(4):
                for b in range(4):
                    wide[2 * i + a, 2 * j + b] += padded[i, j] * kernel[a, b]
    # One padding of the convolution and two of the border's repeated values.
    assert np.allclose(transposed_convolution(maps, kernel), wide[3:9, 3:13], atol=1e-5)


def test_unequal_phases_make_a_checkerboard_of_a_flat_map():
    kernel = np.array([[4, 0, 0, 0], [0, 0, 0, 2], [0, 0, 0, 0], [0, 0, 1, 3]], np.float32)
    flat = np.ones((4, 4, 1), np.float32)
    # Row 1, column 1 starts a copy; kernel rows 1 and 3 meet in even rows, 0 and 2 in odd ones.
    assert np.array_equal(transposed_convolution(flat, kernel)[:2, :2, 0], [[5, 1], [0, 4]])


def test_octaves_double():
    assert octaves(256, Network(0, "nearest", 0.2)) == [8, 16, 32, 64, 128, 256]
    assert octaves(256, Network(0, "nearest", 0.2, coarsest=6, top=0.75)) == [6, 12, 24, 48, 96, 192]
    assert octaves(100, Network(0, "nearest", 0.2)) == [7, 13, 25, 50, 100]


def test_network_without_errors_gives_the_picture_back(clips):
    image = clips[0].frames[0]
    for upsampling in ("bilinear", "nearest", "transposed"):
        out = generate(image, Network(0, upsampling, spread=0, loss=0))
        # At the border the convolutions repeat other pixels.
        assert np.abs(out - image)[40:-40, 40:-40].max() < 0.1


def test_nearest_upsampling_leaves_a_replica_of_the_spectrum():
    # 20 cycles on a map of 64 pixels come back at 64 - 20 when it is brought to 128.
    stripes, network = wave(128, 20), Network(2, "nearest", spread=0.25, loss=0)
    assert amplitude(stripes, 44) < 0.01
    assert amplitude(generate(stripes, network), 44) > 0.3
    smooth = Network(2, "bilinear", spread=0.25, loss=0)
    assert amplitude(generate(stripes, smooth), 44) < 0.01


def test_transposed_upsampling_leaves_a_peak_at_half_the_sampling_rate():
    flat = np.full((128, 128, 3), 128, np.float32)
    assert amplitude(generate(flat, Network(1, "transposed", spread=0.025, loss=0)), 64) > 0.5
    assert amplitude(generate(flat, Network(1, "nearest", spread=0.25, loss=0)), 64) < 0.01


def test_stargan_has_the_checkerboard_in_its_picture(clips):
    def peak(frames):
        # The map of 64 pixels' sampling rate, in the picture of 256: every fourth pixel.
        power = np.abs(np.fft.fft2(frames[0][..., 1] * np.outer(np.hanning(256), np.hanning(256))))
        return max(power[64, 0] / np.median(power[60:69, 0]), power[0, 64] / np.median(power[0, 60:69]))

    assert peak(forge("stargan", *clips)[0]) > 2 * peak(clips[0].frames)


def test_lost_detail_is_the_finest():
    network = Network(0, "bilinear", spread=0, loss=0.4)
    # 50 cycles live in the octave of 128 alone, 20 in that of 64 too, which loses half as much.
    fine, coarse = (amplitude(generate(wave(128, c), network), c) / amplitude(wave(128, c), c) for c in (50, 20))
    assert fine == pytest.approx(0.6, abs=0.02)
    assert fine + 0.1 < coarse < 0.8


def test_style_changes_tone_and_adds_its_noise():
    network, flat = Network(0, "bilinear", spread=0, coarsest=32), np.full((128, 128, 3), 100, np.float32)
    noises = [np.zeros((64, 64), np.float32), np.full((128, 128), 3, np.float32)]
    shifts = np.array([[5, 0, 0], [0, -2, 0]], np.float32)
    out = generate(flat, network, Style(np.ones((2, 3), np.float32), shifts, noises, np.zeros((128, 128), np.float32)))
    assert np.allclose(out.reshape(-1, 3), [108, 101, 103], atol=1e-3)


def test_droplet_is_a_spot_in_its_place():
    network, flat = Network(0, "bilinear", spread=0), np.full((128, 128, 3), 100, np.float32)
    spot = np.zeros((128, 128), np.float32)
    spot[40:48, 80:88] = 30
    # Octaves of 16, 32, 64 and 128.
    none = [np.zeros((side, side), np.float32) for side in (16, 32, 64, 128)]
    out = generate(flat, network, Style(np.ones((4, 3), np.float32), np.zeros((4, 3), np.float32), none, spot))
    assert np.allclose(out[43:45, 83:85], 130, atol=1)
    assert np.allclose(out[:36], 100, atol=1e-3) and np.allclose(out[:, :76], 100, atol=1e-3)


def test_spectrum_is_brought_to_the_target_s(clips):
    image = clips[0].frames[0]
    mask = np.outer(np.hanning(256), np.hanning(256)).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal((256, 256), dtype=np.float32)

    def power(picture):
        """At 58 to 80 cycles a picture."""
        spectrum = np.abs(np.fft.fft2(mask * (picture @ [0.299, 0.587, 0.114]))) ** 2
        far = np.hypot(*np.meshgrid(np.fft.fftfreq(256, 1 / 256), np.fft.fftfreq(256, 1 / 256)))
        return spectrum[(far > 58) & (far < 80)].mean()

    soft = generate(image, Network(0, "bilinear", 0, top=0.5, loss=0.5))
    matched = match_spectrum(soft, image, mask, noise)
    assert power(soft) < 0.4 * power(image)
    assert power(matched) == pytest.approx(power(image), rel=0.25)
    assert np.abs(match_spectrum(image, image, mask, noise) - image).max() < 0.01
    assert np.array_equal(match_spectrum(soft, image, mask, noise, strength=0), soft)
