"""A batch with all that a task wants."""

import torch


def batch(wants, n=10, seed=1, size=64):
    """Return noise with labels, n faces whose domains take turns; forged regions are squares in the middle."""
    generator = torch.Generator().manual_seed(seed)
    domain = torch.arange(n) % 5
    label = (domain > 0).long()
    lead = (n, wants.frames) if wants.frames > 1 else (n,)
    made = {"image": torch.rand(*lead, wants.channels, size, size, generator=generator),
            "label": label, "domain": domain, "index": torch.arange(n)}  # fmt: skip
    if wants.masks:
        made["mask"] = torch.zeros(n, 1, size, size)
        made["mask"][label == 1, :, size // 4 : -size // 4, size // 4 : -size // 4] = 0.8
    if wants.context is not None:
        made["context"] = torch.rand(n, wants.channels, size, size, generator=generator)
    if wants.blended:  # real faces alone
        made |= {"label": torch.zeros(n, dtype=torch.long), "domain": torch.zeros(n, dtype=torch.long)}
        made["blended"] = torch.rand(n, wants.channels, size, size, generator=generator)
    return made
