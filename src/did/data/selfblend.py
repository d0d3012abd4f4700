"""Self-blended images: a face with a changed copy of itself pasted into it, so that there is a seam and nothing else.

Source: Shiohara and Yamasaki (2022), "Detecting deepfakes with self-blended images", CVPR, arXiv:2204.08376. Written
from a description of the steps and their constants; no other implementation was used. Lengths that the authors give in
pixels of their crops are taken in proportion to the crop's side.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.float32]

#: Outline of a face, (18, 2), where the eyes are at (-.5, 0) and (.5, 0) and y points down: the jaw from ear to ear,
#: and the forehead as the brows mirrored up. Read off neutral frontal portraits, made symmetric.
_SIDE = [(1.08, 0.1), (1.05, 0.6), (0.97, 1.05), (0.65, 1.54), (0.34, 1.71)]
_BROW = [(0.9, -0.2), (0.66, -0.33), (0.22, -0.28)]
_FOREHEAD = [(0.95, -0.35), (0.6, -0.75), (0.2, -0.85)]
#: The five landmarks of MTCNN in the same coordinates.
_FIVE = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.53], [-0.42, 1.05], [0.42, 1.05]])
#: Shares of the copy in the blend, each as likely as the others.
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
#: How often the outline ends at the brows.
WITHOUT_FOREHEAD = 0.25


def _mirrored(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return points + [(-x, y) for x, y in points]


def outline(landmarks: NDArray[np.float64], forehead: bool = True) -> NDArray[np.float64]:
    """Return the convex outline of a face in a crop, (m, 2), from its five landmarks.

    Args:
        landmarks: (5, 2), in the order of MTCNN, in pixels of the crop.
        forehead: whether it reaches above the brows.
    """
    points = np.array(_mirrored([*_SIDE, *(_FOREHEAD if forehead else _BROW)]) + [(0.0, 1.78)])
    # The affine map that fits this face's own proportions.
    known = np.column_stack([_FIVE, np.ones(5)])
    matrix, *_ = np.linalg.lstsq(known, landmarks, rcond=None)
    placed: NDArray[np.float64] = np.dot(np.column_stack([points, np.ones(len(points))]), matrix)
    return np.asarray(cv2.convexHull(placed.astype(np.float32))[:, 0], dtype=np.float64)


def _recoloured(image: Image, rng: np.random.Generator) -> Image:
    """Change colours and sharpness a little: what two cameras make of one face."""
    if rng.random() < 0.3:
        image = image + np.float32(rng.uniform(-20 / 255, 20 / 255, image.shape[2]))
    if image.shape[2] == 3 and rng.random() < 0.3:
        hsv = cv2.cvtColor(np.clip(image, 0, 1), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + 360 * rng.uniform(-0.3, 0.3) * 0.1) % 360  # turned by .3, skin would be green
        hsv[..., 1:] = np.clip(hsv[..., 1:] * (1 + rng.uniform(-0.3, 0.3, 2)), 0, 1)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    middle = image.mean()
    image = (image - middle) * (1 + rng.uniform(-0.1, 0.1)) + middle + rng.uniform(-0.1, 0.1)
    size = image.shape[0]
    if rng.random() < 0.5:
        small = size // int(rng.choice([2, 4]))
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_NEAREST), (size, size))
    else:
        image = image + rng.uniform(0.2, 0.5) * (image - cv2.GaussianBlur(image, (0, 0), 1.0))
    return np.clip(image.reshape(size, size, -1), 0, 1).astype(np.float32)


def soft_mask(hull: NDArray[np.float64], size: int, rng: np.random.Generator) -> Image:
    """Draw an outline's inside as a mask, (size, size) in [0, 1]: bent elastically, and soft at its rim.

    Args:
        hull: (m, 2) in pixels.
        size: side of the mask.
        rng: of all that is random.
    """
    mask = np.zeros((size, size), np.float32)
    cv2.fillConvexPoly(mask, np.round(hull).astype(np.int32), 1.0)
    # Elastic: a random field, smoothed; alpha 50 and sigma 7 for a crop of 300 pixels.
    bend, smooth = 50 * size / 300, 7 * size / 300
    shift = [bend * cv2.GaussianBlur(rng.uniform(-1, 1, mask.shape).astype(np.float32), (0, 0), smooth) for _ in "xy"]
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    mask = cv2.remap(mask, x + shift[0], y + shift[1], cv2.INTER_LINEAR)

    def kernel() -> tuple[int, int]:  # 5 to 25 pixels of 224
        side = 2 * round(rng.integers(2, 13) * size / 224) + 1
        return (max(3, side),) * 2

    mask = cv2.GaussianBlur(mask, kernel(), 0)
    inside = (mask >= mask.max() - 1e-4).astype(np.float32) if mask.max() > 0 else mask
    mask = cv2.GaussianBlur(inside, kernel(), rng.uniform(5, 45) * size / 224)
    return mask / mask.max() if mask.max() > 0 else mask


def self_blended(image: Tensor, landmarks: NDArray[np.float64], seed: int) -> Tensor:
    """Paste a changed copy of a face into itself.

    One of the two, at random, is recoloured; the copy is shifted and scaled by up to some per cent; the mask is the
    face's outline, bent and soft; the copy's share in the blend is one of `RATIOS`.

    Args:
        image: (channels, size, size) in [0, 1], an aligned crop.
        landmarks: (5, 2) in it.
        seed: of all that is random.

    Returns:
        The same shape, in [0, 1].
    """
    rng = np.random.default_rng([seed % 2**63, 2])
    target = np.ascontiguousarray(image.numpy().transpose(1, 2, 0))
    size = target.shape[0]
    copy = target
    if rng.random() < 0.5:
        copy = _recoloured(copy, rng)
    else:
        target = _recoloured(target, rng)
    mask = soft_mask(outline(landmarks, rng.random() >= WITHOUT_FOREHEAD), size, rng)
    scale = rng.uniform(0.95, 1 / 0.95)
    shift = rng.uniform([-0.03, -0.015], [0.03, 0.015]) * size + (1 - scale) * (size - 1) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    copy, mask = (
        cv2.warpAffine(part, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for part in (copy, mask)
    )
    weight = (rng.choice(RATIOS) * mask)[..., None].astype(np.float32)
    mixed = weight * copy.reshape(target.shape) + (1 - weight) * target
    return torch.from_numpy(np.ascontiguousarray(mixed.transpose(2, 0, 1).clip(0, 1)))
