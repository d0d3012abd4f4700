"""DiFF's stand-in methods: the mask's promise, the arithmetic of the denoising chain, faces that are still faces."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from did.standin import diffusion
from did.standin.animate import Clip, animate
from did.standin.diffusion import METHODS_DIFF, decode, denoise, encode, estimate, known, signal
from did.standin.drawn import DrawnBank
from did.standin.landmarks import five_points, warp
from did.standin.portraits import find_face

WHOLE, INSIDE = ("T2I", "I2I"), ("FS", "FE")


@pytest.fixture(scope="module")
def clips():
    bank = DrawnBank(3)
    return [animate(bank.still(k), np.random.default_rng(k), 2, 256) for k in range(2)]


@pytest.fixture(scope="module")
def latent(clips):
    return encode(clips[0].frames[0])


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).standard_normal((128, 128, 3), dtype=np.float32)


def forge(method: str, target: Clip, donor: Clip, seed: int = 0):
    return METHODS_DIFF[method](target, donor, np.random.default_rng(seed))


def likeness(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float:
    """Correlation of two gray pictures (h, w, 3) inside a mask."""
    return float(np.corrcoef(a.mean(-1)[inside], b.mean(-1)[inside])[0, 1])


def test_methods_are_those_of_diff_in_order():
    assert tuple(METHODS_DIFF) == WHOLE + INSIDE


@pytest.mark.parametrize("method", WHOLE + INSIDE)
def test_same_seed_same_frames_and_another_seed_others(clips, method):
    forged, masks = forge(method, *clips)
    again, masks_again = forge(method, *clips)
    assert forged.shape == clips[0].frames.shape and forged.dtype == np.uint8
    assert masks.shape == forged.shape[:3] and masks.dtype == np.float32
    assert np.array_equal(forged, again) and np.array_equal(masks, masks_again)
    assert not np.array_equal(forged, forge(method, *clips, seed=1)[0])


@pytest.mark.parametrize("method", INSIDE)
def test_forgery_changes_what_its_mask_says_and_nothing_else(clips, method):
    forged, masks = forge(method, *clips)
    change = np.abs(forged.astype(int) - clips[0].frames).max(-1)
    assert masks.min() == 0 and masks.max() <= 1
    assert change[masks == 0].max() == 0
    assert 3 < change[masks > 0.9].mean() < 60
    assert 0.02 < (masks > 0.5).mean() < 0.3


@pytest.mark.parametrize("method", WHOLE)
def test_whole_picture_is_new(clips, method):
    forged, masks = forge(method, *clips)
    assert (masks == 1).all()
    assert 1 < np.abs(forged.astype(int) - clips[0].frames).mean() < 80


@pytest.mark.parametrize("seed", range(3))
def test_t2i_is_neither_of_the_two(clips, seed):
    forged, _ = forge("T2I", *clips, seed=seed)
    face = np.s_[90:200, 80:176]
    for person in clips:
        assert np.abs(forged[0][face].astype(int) - person.frames[0][face]).mean() > 5


@pytest.mark.parametrize("seed", range(3))
def test_i2i_keeps_the_target(clips, seed):
    target, donor = clips
    forged, _ = forge("I2I", target, donor, seed)
    inside = np.ones((256, 256), bool)
    assert likeness(forged[0], target.frames[0], inside) > 0.9
    assert likeness(forged[0], target.frames[0], inside) > likeness(forged[0], donor.frames[0], inside) + 0.2


@pytest.mark.parametrize("seed", range(3))
def test_fs_takes_the_donor(clips, seed):
    target, *donors = clips[0], clips[1], animate(DrawnBank(3).still(2), np.random.default_rng(2), 2, 256)

    def features(picture):
        return picture - cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 8)

    forged = [forge("FS", target, donor, seed)[0][0] for donor in donors]
    inside = forge("FS", target, donors[0], seed)[1][0] > 0.9
    faces = [warp(donor.frames[0], donor.points[0], target.points[0], 256) for donor in donors]
    for new, own, other in zip(forged, faces, faces[::-1], strict=True):
        mine = likeness(features(new), features(own), inside)
        assert mine > likeness(features(new), features(other), inside) + 0.2
        assert mine > likeness(features(new), features(target.frames[0]), inside)


@pytest.mark.parametrize("method", ["I2I", "FE"])
def test_others_do_not_look_at_the_donor(clips, method):
    target, donor = clips
    assert np.array_equal(forge(method, target, donor)[0], forge(method, target, target)[0])


@pytest.mark.parametrize("size", [96, 300])
@pytest.mark.parametrize("method", WHOLE + INSIDE)
def test_other_sizes_of_frames(method, size):
    pair = [animate(DrawnBank(3).still(k), np.random.default_rng(k), 1, size) for k in range(2)]
    forged, masks = forge(method, *pair)
    assert forged.shape == (1, size, size, 3) and masks.shape == (1, size, size)


@pytest.mark.parametrize("method", WHOLE + INSIDE)
def test_mtcnn_finds_the_face_in_its_place(clips, method):
    forged, _ = forge(method, *clips)
    found = find_face(forged[0])
    assert found is not None
    between = [five_points(clip.points[0]) for clip in clips]
    unit = np.linalg.norm(between[0][1] - between[0][0])
    assert min(np.abs(found - w * between[0] - (1 - w) * between[1]).max() for w in np.linspace(0, 1, 11)) < 0.3 * unit


def test_latent_of_gray_is_brightness_alone():
    levels = {0: -(3**0.5), 127.5: 0, 255: 3**0.5}
    for gray, value in levels.items():
        assert np.allclose(encode(np.full((8, 8, 3), gray, np.float32))[2, 2], [value, 0, 0], atol=1e-6)


def test_decoder_gives_the_picture_back_but_for_the_finest_detail():
    ys, xs = np.mgrid[:64, :64]
    slope = np.stack([100 + ys, 50 + xs, 200 - xs], -1).astype(np.float32)
    assert np.abs(decode(encode(slope), 64) - slope)[4:-4, 4:-4].max() < 0.2
    board = np.repeat(255.0 * ((xs + ys) % 2)[..., None], 3, -1)
    assert np.allclose(decode(encode(board), 64), 127.5, atol=0.1)


def test_schedule_goes_from_all_to_nothing():
    assert signal(0) == pytest.approx(1) and signal(1) == pytest.approx(0, abs=1e-6)
    # cos²(.508 / 1.008 × 90°) = .4938 over cos²(.008 / 1.008 × 90°) = .9998
    assert signal(0.5) == pytest.approx(0.4939, abs=1e-3)
    values = [signal(t) for t in np.linspace(0, 1, 9)]
    assert values == sorted(values, reverse=True)


def test_bands_sum_to_the_whole(latent):
    assert np.allclose(sum(diffusion._split(latent)), latent, atol=1e-5)


def test_noise_in_bands_is_as_measured(noise):
    measured = [float(band.var()) for band in diffusion._split(noise)]
    # A 3×3 mean keeps a ninth of the variance, so that 1 - 2/9 + 1/9 is left in the finest band.
    assert diffusion._noise_in_bands()[0] == pytest.approx(8 / 9, abs=1e-4)
    assert np.allclose(measured, diffusion._noise_in_bands(), rtol=0.2, atol=1e-3)


def test_shrinkage_by_the_share_of_noise(latent):
    zeros = [np.zeros_like(latent)] * 5
    as_much = [np.full_like(latent, share * 0.3**2) for share in diffusion._noise_in_bands()]
    thrice = [3 * variance for variance in as_much]
    assert np.allclose(estimate(latent, 0.3, zeros, as_much), latent / 2, atol=1e-5)
    assert np.allclose(estimate(latent, 0.3, zeros, thrice), 3 / 4 * latent, atol=1e-5)
    assert np.allclose(estimate(latent, 0.0, zeros, as_much), latent, atol=1e-5)


def test_hopeless_noise_gives_what_is_known(latent, noise):
    means, variances = known(latent)
    assert np.allclose(estimate(1e4 * noise, 1e6, means, variances), sum(means), atol=1e-2)


def test_known_are_outlines_and_not_texture(noise):
    step = np.zeros((128, 128, 3), np.float32)
    step[:, 64:, 0] = 1.0
    plain = sum(known(step + 0.03 * noise)[0])
    assert np.abs(plain - step).std() < 0.02
    assert plain[:, 66:70, 0].mean() - plain[:, 58:62, 0].mean() == pytest.approx(1, abs=0.05)


def test_chain_of_no_strength_gives_its_input(latent, noise):
    assert np.array_equal(denoise(latent, 0, noise), latent)


def test_stronger_chain_keeps_less(latent, noise):
    left = [np.abs(denoise(latent, strength, noise) - latent).mean() for strength in (0.001, 0.01, 0.5)]
    assert left[0] < 0.004 < left[1] < left[2]


def test_chain_outside_the_mask_gives_its_input(latent, noise):
    where = np.zeros((128, 128), np.float32)
    assert np.allclose(denoise(latent, 0.5, noise, where=where), latent, atol=1e-5)
    where[:, 64:] = 1
    half = denoise(latent, 0.5, noise, where=where)
    assert np.allclose(half[:, :64], latent[:, :64], atol=1e-5)
    assert np.abs(half[:, 64:] - latent[:, 64:]).mean() > 0.005


def test_chain_underestimates_fine_detail_and_makes_up_other(latent, noise):
    def fine(maps):
        return diffusion._split(maps)[0][..., 0]

    out = denoise(latent, 0.9, noise)
    assert 0.3 < fine(out).std() / fine(latent).std() < 0.97
    other = denoise(latent, 0.9, noise[::-1])
    texture, other_texture = fine(out - sum(known(latent)[0])), fine(other - sum(known(latent)[0]))
    assert abs(np.corrcoef(texture.ravel(), other_texture.ravel())[0, 1]) < 0.5
