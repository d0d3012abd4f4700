"""The cascade against facenet-pytorch, which is called as its README does."""

import cv2
import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from torch.nn.functional import interpolate
from torchvision.ops import nms

from did.data import mtcnn


@pytest.fixture(scope="module")
def theirs():
    detector = MTCNN(factor=mtcnn.PYRAMID_STEP, select_largest=True)
    for net in (detector.pnet, detector.rnet, detector.onet):
        net.to(memory_format=torch.channels_last)

    def found(images, smallest_face):
        detector.min_face_size = smallest_face
        answers = zip(*detector.detect(np.stack(images), landmarks=True), strict=True)
        return [([], [], []) if boxes is None else (boxes, sure, five) for boxes, sure, five in answers]

    return found


@pytest.fixture
def crowd(draw_face):
    """Two pictures of four faces of several sizes, one of one face, one of none."""
    rows = [[draw_face(128, height=h, skin=s) for h, s in ((0.5, 1.0), (0.7, 0.8))] for _ in range(2)]
    rows[1][0] = draw_face(128, x=0.45, height=0.35, skin=0.9)
    many = np.vstack([np.hstack(row) for row in rows])
    return [many, many[:, ::-1].copy(), draw_face(256, height=0.6), np.full((256, 256, 3), 90, np.uint8)]


@pytest.mark.parametrize("smallest_face", [20.0, 28.2, 56.1])
@pytest.mark.parametrize("shape", [(256, 256), (200, 313)])
def test_it_finds_what_facenet_pytorch_finds(theirs, crowd, smallest_face, shape):
    """The same boxes, probabilities and landmarks; for one picture at a time nearly always to the last bit."""
    crowd = [cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA) for image in crowd]
    seen = 0
    for mine, other in zip(mtcnn.cascade(crowd, smallest_face), theirs(crowd, smallest_face), strict=True):
        assert len(mine[0]) == len(other[0])
        seen += len(mine[0])
        for a, b in zip(mine, other, strict=True):
            if len(b):
                assert np.abs(a - np.asarray(b, float)).max() < 1e-3
    assert seen >= 3


@pytest.mark.parametrize("size", [(37, 49), (24, 24), (120, 160), (130, 200)])
def test_averages_are_those_of_torch(size):
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    x0, y0, x1, y1 = box = (3, 5, 150, 111)
    part = torch.from_numpy(image[y0:y1, x0:x1].copy()).permute(2, 0, 1)[None].float()
    wanted = (interpolate(part, size=size, mode="area") - 127.5) / 128
    found = mtcnn._Areas([image]).averages(0, np.array([box]), *size)
    assert found.shape == (1, *size, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found[0], wanted[0].permute(1, 2, 0).numpy(), rtol=0, atol=3e-7)


def test_the_sums_of_a_large_white_picture_wrap_around_unharmed():
    white = np.full((4200, 4200, 3), 255, np.uint8)  # its sum is beyond 2^32
    last = mtcnn._Areas([white]).averages(0, np.array([[4000, 4000, 4200, 4200]]), 3, 3)
    np.testing.assert_allclose(last, (255 - 127.5) / 128, rtol=0, atol=1e-7)


def test_the_size_of_a_batch_does_not_change_the_boxes(crowd, monkeypatch):
    together = mtcnn.cascade(crowd, 20.0)
    alone = [mtcnn.cascade([image], 20.0)[0] for image in crowd]
    monkeypatch.setattr(mtcnn, "PIXELS_IN_CACHE", 1 << 12)
    small = mtcnn.cascade(crowd, 20.0)
    for one, *others in zip(together, alone, small, strict=True):
        for other in others:
            assert len(one[0]) == len(other[0])
            assert all(np.abs(a - b).max(initial=0) < 1e-3 for a, b in zip(one, other, strict=True))


def test_suppression_of_a_batch_is_that_of_each_image():
    """With torchvision's `batched_nms`, two of these boxes depend on the number of their image."""
    draws = torch.Generator().manual_seed(151)
    corners = 0.37 * torch.randint(0, 400, (240, 4, 2), generator=draws)
    boxes = torch.cat([corners, corners + 300], 2)
    scores, owners = torch.rand(240, 4, generator=draws), torch.arange(240)[:, None].expand(-1, 4)
    kept = mtcnn._surest(boxes.flatten(0, 1), scores.flatten(), owners.flatten(), 0.5)
    alone = [4 * number + nms(boxes[number], scores[number], 0.5) for number in range(240)]
    assert sorted(kept.tolist()) == torch.cat(alone).sort().values.tolist()


def test_a_box_outside_the_picture_is_left_out():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    boxes = torch.tensor([[10.0, 10, 40, 40, 0.9], [90.0, 10, 120, 40, 0.9], [-30.0, 5, 0, 35, 0.9]])
    with np.errstate(all="raise"):  # Nothing is averaged over no pixels.
        found, owners, answers = mtcnn._look(
            mtcnn.networks()[1], mtcnn._Areas([image]), boxes, torch.zeros(3, dtype=torch.long), 24, -1.0
        )
    assert found[:, :4].tolist() == [[10, 10, 40, 40]] and owners.tolist() == [0] and len(answers[0]) == 1


def test_no_face_is_an_answer():
    gray = np.full((48, 64, 3), 127, np.uint8)
    ((boxes, sure, landmarks),) = mtcnn.cascade([gray], 20.0)
    assert boxes.shape == (0, 4) and sure.shape == (0,) and landmarks.shape == (0, 5, 2)


def test_of_overlapping_boxes_the_surest_stays():
    boxes = np.array([[0, 0, 99, 99, 0.8], [10, 10, 59, 59, 0.9], [80, 80, 179, 179, 0.7]], np.float32)
    ((kept, _, _),) = mtcnn._largest_first(boxes, np.zeros((3, 5, 2)), np.zeros(3, int), 1)
    assert kept.tolist() == boxes[[2, 1], :4].tolist()  # the first holds the second whole; the largest comes first
