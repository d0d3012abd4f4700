"""Eq. 4 and Eq. 7-10 as pure functions of tensors. Scores are logits of shape (n,); label 1 is fake, 0 is real."""

import torch
import torch.nn.functional as F
from torch import Tensor


def auc_loss(scores: Tensor, labels: Tensor, margin: float = 0.15, power: float = 2.0) -> Tensor:
    """Compute L_AUC, the differentiable surrogate of 1 - AUC, over all fake-real pairs.

    AUC is the normalised Wilcoxon-Mann-Whitney statistic.

    The mean over all pairs of a fake i and a real j of (γ - (s_i - s_j))^p where s_i - s_j < γ, and 0 elsewhere.

    Args:
        scores: (n,) logits C(I_df).
        labels: (n,) 1 for fake, 0 for real.
        margin: γ, in (0, 1].
        power: p, above 1.

    Returns:
        A scalar, at least 0. With one class absent there is no pair: the loss is 0 and so is its gradient.

    Source: Eq. 7 and 8; Yan et al. (2003).

    Examples:
        >>> scores, labels = torch.tensor([0.9, 0.2, 0.1]), torch.tensor([1, 1, 0])
        >>> round(auc_loss(scores, labels, margin=0.15, power=2).item(), 5)  # the pair (0.2, 0.1) costs 0.05²
        0.00125
    """
    fake, real = scores[labels == 1], scores[labels == 0]
    if fake.numel() == 0 or real.numel() == 0:
        return (scores * 0).sum()
    shortfall = F.relu(margin - (fake[:, None] - real[None, :]))
    return shortfall.pow(power).mean()


def classification_loss(
    scores: Tensor, labels: Tensor, alpha: float = 0.5, margin: float = 0.15, power: float = 2.0
) -> Tensor:
    """Compute L_cls = α·L_BCE + (1 - α)·L_AUC.

    Args:
        scores: (n,) logits C(I_df).
        labels: (n,) 1 for fake, 0 for real.
        alpha: α, in [0, 1]; 1 is binary cross-entropy alone.
        margin: γ of `auc_loss`.
        power: p of `auc_loss`.

    Returns:
        A scalar, at least 0.

    Source: Eq. 9.

    Examples:
        >>> scores, labels = torch.zeros(4), torch.tensor([0, 1, 0, 1])
        >>> round(classification_loss(scores, labels, alpha=1.0).item(), 3)  # binary cross-entropy: log 2
        0.693
    """
    bce = F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype))
    return alpha * bce + (1 - alpha) * auc_loss(scores, labels, margin, power)


def jsd_mutual_information(joint_scores: Tensor, marginal_scores: Tensor) -> Tensor:
    """Compute Î(I_df; I_os), the Jensen-Shannon estimate of mutual information, in nats.

    E_joint[log σ(T)] + E_marginal[log(1 - σ(T))]. T ascends it and the features descend it. It is never above 0 and
    is -2·log 2 at T = 0, so it is an order of dependence, not the mutual information: Eq. 4's "MI ≥ Î" holds, since
    MI ≥ 0, but says nothing.

    Args:
        joint_scores: (n,) T on pairs (I_df, I_os) of the same image.
        marginal_scores: (m,) T on pairs of different images.

    Returns:
        A scalar, at most 0.

    Source: Eq. 4; Hjelm et al. (2019).

    Examples:
        >>> joint, marginal = torch.zeros(4), torch.zeros(4)
        >>> round(jsd_mutual_information(joint, marginal).item(), 3)  # a T that tells nothing: -2 log 2
        -1.386
    """
    # log(1 - σ(t)) = log σ(-t); logsigmoid does not overflow where log(1 + exp(t)) would.
    return F.logsigmoid(joint_scores).mean() + F.logsigmoid(-marginal_scores).mean()


def domain_loss(logits: Tensor, domains: Tensor) -> Tensor:
    """Compute L_dom: cross-entropy over the k + 1 domains.

    Args:
        logits: (n, k + 1), C̄(I_dom).
        domains: (n,) domain numbers; 0 is real, 1 to k are the forgery methods.

    Returns:
        A scalar, at least 0.

    Source: Eq. 10.

    Examples:
        >>> round(domain_loss(torch.zeros(3, 5), torch.tensor([0, 1, 4])).item(), 3)  # log 5
        1.609
    """
    return F.cross_entropy(logits, domains)


def marginal_permutation(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw a random cyclic permutation of 0..n-1: the partner of each image in Eq. 4's marginal.

    It has no fixed point. A plain random permutation has one on average, which puts a joint pair in the marginal.

    Args:
        n: batch size, at least 2.
        generator: source of randomness on the CPU; torch's default if None.

    Returns:
        (n,) int64.

    Raises:
        ValueError: n is below 2, so that no image has another as a partner.

    Source: Eq. 4 (the paper does not say how the marginal is sampled); Sattolo (1986).

    Examples:
        >>> partner = marginal_permutation(5, torch.Generator().manual_seed(0))
        >>> bool((partner != torch.arange(5)).all())
        True
    """
    if n < 2:
        raise ValueError(f"the marginal of Eq. 4 needs a batch of at least 2 images, got {n}")
    order = torch.randperm(n, generator=generator)
    partner = torch.empty(n, dtype=torch.long)
    partner[order] = order.roll(-1)  # a random order read as one cycle
    return partner
