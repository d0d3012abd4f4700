import pytest
import torch

from did.method.layers import Attention, ChannelAttention, gradient_reversal


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_gradient_reversal_is_the_identity_forwards_and_minus_beta_backwards(beta):
    x = torch.randn(3, 2, requires_grad=True)
    y = gradient_reversal(x, beta)
    assert torch.equal(x, y)
    (y * torch.arange(6.0).reshape(3, 2)).sum().backward()
    assert torch.equal(x.grad, -beta * torch.arange(6.0).reshape(3, 2))


@pytest.mark.parametrize("wiring", ["parallel", "sequential"])
@pytest.mark.parametrize("merge", ["sum", "product"])
@pytest.mark.parametrize("adaptive_pool", ["sum", "mean"])
def test_the_map_has_the_shape_of_its_input_and_lies_in_0_1(wiring, merge, adaptive_pool):
    torch.manual_seed(0)
    attention = Attention(32, wiring, merge, adaptive_pool, reduction=4)
    x = 5 * torch.randn(4, 32, 6, 5)
    m = attention(x)
    assert m.shape == x.shape
    assert m.min() >= 0
    assert m.max() <= 1
    assert m.std() > 1e-4
    m.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in attention.parameters())


def test_the_two_wirings_and_merges_are_different_functions():
    maps = []
    for wiring, merge in [("parallel", "sum"), ("sequential", "sum"), ("parallel", "product")]:
        torch.manual_seed(0)
        attention = Attention(16, wiring, merge)
        maps.append(attention(torch.ones(1, 16, 4, 4)))
    assert not torch.allclose(maps[0], maps[1])
    assert not torch.allclose(maps[0], maps[2])


def test_the_map_varies_over_channels_and_over_places():
    torch.manual_seed(0)
    m = Attention(32)(torch.randn(2, 32, 6, 6))
    assert m.std(1).min() > 1e-4
    assert m.flatten(2).std(2).min() > 1e-5


def test_sum_pooling_grows_with_the_map_and_mean_pooling_does_not():
    def answer(pool, side):
        torch.manual_seed(0)
        branch = ChannelAttention(8, 1, pool)
        return branch(torch.ones(1, 8, side, side)).abs().mean().item()

    assert answer("sum", 16) > 5 * answer("sum", 4)
    assert answer("mean", 16) == pytest.approx(answer("mean", 4), rel=0.5)
