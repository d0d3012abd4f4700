"""Run the three networks of MTCNN over images of one size.

The networks, their weights and their answers are facenet-pytorch's; how they are fed is not. facenet-pytorch averages
the areas of whole images in floating point for each scale of the pyramid, and reduces each box by itself. Here every
average is a difference of four corners of an integral image, in whole numbers, for all boxes at once: the same values
to the last bit in a fraction of the time. P-Net sees few pixels at a time, because a batch that leaves the cache costs
more than it saves.

Source: Zhang et al. (2016), Joint face detection and alignment using multitask cascaded convolutional networks.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from facenet_pytorch.models.utils.detect_face import bbreg, nms_numpy, rerec
from torch import Tensor, nn
from torchvision.ops import nms

# MTCNN's own: the step of the image pyramid, what P-Net sees at each of its places and how far these are apart, in
# pixels, and the least probability of a face after each network.
PYRAMID_STEP = 0.709
CELL, STRIDE = 12, 2
THRESHOLDS = (0.6, 0.7, 0.7)
# Most pixels that a network sees at once.
PIXELS_IN_CACHE = 1 << 15

#: Of one image: bounding boxes (n, 4), probabilities (n,), landmarks (n, 5, 2).
Found = tuple[np.ndarray, np.ndarray, np.ndarray]


@torch.no_grad()
def cascade(images: Sequence[np.ndarray], smallest_face: float) -> list[Found]:
    """Find faces of at least a given size.

    Args:
        images: RGB uint8 (H, W, 3) of one size.
        smallest_face: its side in pixels.

    Returns:
        For each image its boxes (n, 4) as x0, y0, x1, y1, their probabilities (n,) and landmarks (n, 5, 2), the largest
        box first.
    """
    areas = _Areas(images)
    _, rnet, onet = networks()
    boxes, owners = _proposals(areas, smallest_face)
    boxes, owners, (shift, *_) = _look(rnet, areas, boxes, owners, 24, THRESHOLDS[1])
    keep = _surest(boxes[:, :4], boxes[:, 4], owners, 0.7)
    boxes, owners = rerec(bbreg(boxes[keep], shift[keep])), owners[keep]
    boxes, owners, (shift, points, *_) = _look(onet, areas, boxes, owners, 48, THRESHOLDS[2])
    size = boxes[:, 2:4] - boxes[:, :2] + 1
    landmarks = size[:, None] * points.view(-1, 2, 5).transpose(1, 2) + boxes[:, None, :2] - 1
    return _largest_first(bbreg(boxes, shift).numpy(), landmarks.numpy(), owners.numpy(), len(images))


@lru_cache(maxsize=1)
def networks() -> tuple[nn.Module, ...]:
    """Load P-Net, R-Net and O-Net, for evaluation."""
    # Channels-last halves their time on the CPU, most of which goes into max pooling.
    nets: tuple[Any, ...] = (PNet(), RNet(), ONet())
    return tuple(net.eval().to(memory_format=torch.channels_last) for net in nets)


class _Areas:
    """Averages over areas of images (n, H, W, 3) of one size.

    An integral image takes four times the memory of the image. There is one at a time, in a buffer that is used again,
    because making it twice costs less than memory that is new.
    """

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        self.images = images
        self.height, self.width = images[0].shape[:2]
        self._sums = np.empty((self.height + 1, self.width + 1, 3), np.int32)
        self._of = -1

    def sums(self, image: int) -> np.ndarray:
        """Return the sums of all pixels above and to the left, ((H + 1) (W + 1), 3).

        They wrap around beyond 2^32; a difference of two of them does not, unless it is that large itself.
        """
        if image != self._of:
            cv2.integral(self.images[image], self._sums)
            self._of = image
        return self._sums.view(np.uint32).reshape(-1, 3)

    def averages(self, image: int, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
        """Reduce boxes of an image by averaging areas, and bring them to MTCNN's range.

        Args:
            image: its number.
            boxes: (n, 4) whole numbers: x0, y0, x1, y1, the ends excluded.
            height, width: of the result.

        Returns:
            float32 (n, height, width, 3), in about -1 to 1.
        """
        (left, right), (top, bottom) = (_edges(boxes[:, k], boxes[:, k + 2], n) for k, n in ((0, width), (1, height)))
        sums = self.sums(image)

        def at(y: np.ndarray, x: np.ndarray) -> np.ndarray:
            # Ten times as fast as two indices; none is outside, and "clip" saves the check.
            return sums.take((y * (self.width + 1))[:, :, None] + x[:, None, :], axis=0, mode="clip")

        total = at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left)
        high, wide = (bottom - top)[:, :, None, None], (right - left)[:, None, :, None]
        means = total.astype(np.float32) / high.astype(np.float32) / wide.astype(np.float32)
        return (means - np.float32(127.5)) * np.float32(1 / 128)


def _edges(start: np.ndarray, end: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Split intervals (n,) into cells that overlap if they must; return where the cells begin and end, (n, cells)."""
    at, length = np.arange(cells), (end - start)[:, None]
    return start[:, None] + at * length // cells, start[:, None] - -(at + 1) * length // cells


def _in_pieces(net: nn.Module, given: np.ndarray) -> list[Tensor]:
    """Apply a network to (n, h, w, 3), few enough at a time; return its answers, each (n, ...)."""
    many = max(1, PIXELS_IN_CACHE // (given.shape[1] * given.shape[2]))
    pieces = torch.from_numpy(given).permute(0, 3, 1, 2).split(many)
    return [torch.cat(parts) for parts in zip(*(net(piece) for piece in pieces), strict=True)]


def _proposals(areas: _Areas, smallest_face: float) -> tuple[Tensor, Tensor]:
    """Let P-Net look at each scale of the pyramid; return boxes (n, 5), squared, with scores, and their images (n,)."""
    scale, scales = CELL / smallest_face, []
    while min(areas.height, areas.width) * scale >= CELL:
        scales.append(scale)
        scale *= PYRAMID_STEP
    sizes = [(int(areas.height * scale + 1), int(areas.width * scale + 1)) for scale in scales]
    whole = np.array([[0, 0, areas.width, areas.height]])
    pyramids = [[areas.averages(number, whole, *size) for size in sizes] for number in range(len(areas.images))]
    found, owners = [torch.empty(0, 9)], [torch.empty(0, dtype=torch.long)]
    for scale, *level in zip(scales, *pyramids, strict=True):
        shift, probability = _in_pieces(networks()[0], np.concatenate(level))
        image, y, x = torch.nonzero(probability[:, 1] >= THRESHOLDS[0], as_tuple=True)
        corner = STRIDE * torch.stack([x, y], 1).float()
        box = torch.cat([((corner + 1) / scale).floor(), ((corner + CELL) / scale).floor()], 1)
        here = torch.cat([box, probability[image, 1, y, x][:, None], shift[image, :, y, x]], 1)
        keep = _surest(box, here[:, 4], image, 0.5)
        found.append(here[keep])
        owners.append(image[keep])
    boxes, image = torch.cat(found), torch.cat(owners)
    keep = _surest(boxes[:, :4], boxes[:, 4], image, 0.7)
    boxes, image = boxes[keep], image[keep]
    sides = (boxes[:, 2:4] - boxes[:, :2]).repeat(1, 2)
    return rerec(torch.cat([boxes[:, :4] + boxes[:, 5:] * sides, boxes[:, 4:5]], 1)), image


def _surest(boxes: Tensor, scores: Tensor, owners: Tensor, overlap: float) -> Tensor:
    """Return the indices of the boxes that overlap no surer one of their own image.

    Image by image: torchvision's `batched_nms` moves each image's boxes apart by large numbers, whose rounding lets a
    box depend on which other images are in the batch.
    """
    of_each = [torch.nonzero(owners == image)[:, 0] for image in owners.unique()]
    kept = [mine[nms(boxes[mine], scores[mine], overlap)] for mine in of_each]
    return torch.cat([torch.empty(0, dtype=torch.long), *kept])


def _look(
    net: nn.Module, areas: _Areas, boxes: Tensor, owners: Tensor, side: int, threshold: float
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Let a later network look at each box; keep those that it takes for faces.

    Returns:
        The boxes with their new scores (n, 5), their images (n,), and the network's answers: shifts (n, 4), then
        landmarks (n, 10) if it gives some, then probabilities (n, 2).
    """
    corners = boxes[:, :4].trunc().int().numpy()
    start, end = np.maximum(corners[:, :2], 1) - 1, np.minimum(corners[:, 2:], (areas.width, areas.height))
    inside = (end > start).all(1)
    boxes, owners, corners = boxes[inside], owners[inside], np.concatenate([start, end], 1)[inside]
    if not len(boxes):  # The networks do not take an empty batch.
        return boxes, owners, [torch.empty(0, 4), torch.empty(0, 10)]
    given = np.empty((len(boxes), side, side, 3), np.float32)
    for image in np.unique(owners.numpy()):
        mine = owners.numpy() == image
        given[mine] = areas.averages(image, corners[mine], side, side)
    answers = _in_pieces(net, given)
    score = answers[-1][:, 1]
    sure = score > threshold
    return torch.cat([boxes[sure, :4], score[sure, None]], 1), owners[sure], [answer[sure] for answer in answers]


def _largest_first(boxes: np.ndarray, landmarks: np.ndarray, owners: np.ndarray, images: int) -> list[Found]:
    """Drop boxes that overlap a surer one of their image; sort the rest by size."""
    found = []
    for image in range(images):
        mine = np.flatnonzero(owners == image)
        if len(mine):
            mine = mine[nms_numpy(boxes[mine, :4], boxes[mine, 4], 0.7, "Min")]
        size = boxes[mine, 2:4] - boxes[mine, :2]
        mine = mine[np.argsort(size[:, 0] * size[:, 1])[::-1]]
        found.append((boxes[mine, :4], boxes[mine, 4], landmarks[mine]))
    return found
