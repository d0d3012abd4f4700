"""DIRE-small: the schedule, steps there and back, what the network learns from, stages, the error as an image."""

import pytest
import torch
from batches import batch as made

from did.errors import DidError
from did.rivals.dire import STEPS, Diffusion, DIREOptions, DIRETask, kept
from did.settings import Settings

SMALL = DIREOptions(side=16, width=16, passes=4)


@pytest.fixture
def task():
    torch.manual_seed(0)
    return DIRETask(Settings.preset("smoke"), 5, SMALL)


def test_the_schedule_falls_from_1_to_nearly_0():
    left = kept()
    assert len(left) == STEPS + 1 and left[0] == 1 and (left.diff() <= 0).all() and 0 < left[-1] < 1e-3


class Exact(torch.nn.Module):
    """A network that knows: the image is c everywhere, so that the noise is what else there is."""

    def __init__(self, c, levels):
        super().__init__()
        self.c, self.levels = c, levels

    def forward(self, x, t):
        left = self.levels[(t * STEPS).round().long()][:, None, None, None]
        return (x - left.sqrt() * self.c) / (1 - left).sqrt()


def test_with_the_true_noise_an_image_is_rebuilt_exactly():
    diffusion = Diffusion(SMALL)
    diffusion.network = Exact(0.3, diffusion.kept)
    images = torch.full((2, 3, 16, 16), 0.3)
    assert torch.allclose(diffusion.rebuilt(images), images, atol=1e-4)


def test_what_the_model_does_not_know_is_rebuilt_as_what_it_knows():
    diffusion = Diffusion(SMALL)
    diffusion.network = Exact(0.3, diffusion.kept)
    images = torch.full((1, 3, 16, 16), -0.5)
    assert torch.allclose(diffusion.rebuilt(images), torch.full_like(images, 0.3), atol=0.05)


def test_the_loss_is_that_of_a_plain_loop():
    torch.manual_seed(0)
    diffusion, images = Diffusion(SMALL), torch.rand(3, 3, 16, 16) * 2 - 1
    found = diffusion.loss(images, torch.Generator().manual_seed(5)).item()
    generator = torch.Generator().manual_seed(5)
    t = torch.randint(1, STEPS + 1, (3,), generator=generator)
    noise = torch.randn(images.shape, generator=generator)
    total = 0.0
    for i in range(3):
        a = kept()[t[i]].item()
        mixed = a**0.5 * images[i] + (1 - a) ** 0.5 * noise[i]
        total += (diffusion.network(mixed[None], t[i : i + 1] / STEPS)[0] - noise[i]).square().mean().item()
    assert found == pytest.approx(total / 3, abs=1e-4)


def test_the_diffusion_learns_from_real_faces_alone_and_the_classifier_after_it(task):
    of = made(DIRETask.wants)
    before = task(of, 0.1, 0).losses
    of["image"][of["label"] == 1] = 0.5
    assert task(of, 0.1, 0).losses == before and list(before) == ["noise"]
    step = task(of, 0.5, 0)
    step.total.backward()
    assert list(step.losses) == ["bce"]
    assert all(p.grad is None for p in task.model.diffusion.parameters())
    assert any(p.grad is not None for p in task.model.backbone.parameters())
    fakes = {name: value[of["label"] == 1] for name, value in of.items()}
    with pytest.raises(DidError, match="dire takes batches with real faces"):
        task(fakes, 0.1, 0)


def test_the_error_is_an_image_and_a_rebuilt_one_has_none(task):
    images = torch.full((2, 3, 64, 64), 0.65)
    error = task.model.error(images)
    assert error.shape == (2, 3, 16, 16) and error.min() >= 0 and error.max() <= 1 and not error.requires_grad
    task.model.diffusion.network = Exact(0.3, task.model.diffusion.kept)
    assert task.model.error(images).abs().max() < 1e-4  # .65 is .3 in [-1, 1]


def test_sizes_that_fit_nothing_are_one_sentence():
    for wrong in ({"side": 18}, {"width": 12}, {"passes": 1}, {"side": 8}):
        with pytest.raises(DidError, match="side is a multiple of 4 from 16 up, width a multiple of 8"):
            DIREOptions(**wrong)
