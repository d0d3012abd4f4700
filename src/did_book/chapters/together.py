"""The training of DID as a whole, for the chapter on Eq. 10 to 12: small experiments without a data set, and figures.

Which loss reaches which module, with which factor, what β and Adam do to it, and Algorithm 2 on drawn stripes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from lightning_fabric import Fabric
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn.functional import softplus

from did.data.loading import BalancedBatches, UniformBatches
from did.method.task import DIDTask, adversary_scales, beta
from did.plots.base import GRAY, HATCHES, PALETTE, Plot, canvas, legend_above, put_stamp
from did.presets import of_preset
from did.settings import Settings
from did.training.loop import optimizer_for, train_step

#: Sizes of the chapter's experiments: batches drawn, iterations of Algorithm 2, steps of the chain of weights.
SIZES: dict[str, dict[str, int]] = {
    "smoke": {"batches": 2000, "iterations": 12, "steps": 400},
    "laptop": {"batches": 20000, "iterations": 120, "steps": 600},
}
#: The modules of Fig. 2 by the names that `did.method.model.DID` gives them.
MODULES = {
    "G": "backbone",
    "A_df": "deepfake_attention",
    "A_dom": "domain_attention",
    "C": "classifier",
    "C̄": "domain_classifier",
    "T": "estimator",
}
#: The named loss terms of `did.method.task.DIDTask`.
TERMS = ("cls", "dom", "dec")


def sizes(preset: str) -> dict[str, int]:
    """Return the sizes of a preset.

    Raises:
        DidError: If the preset is unknown; the sentence names the nearest.
    """
    return of_preset(SIZES, preset)


def stripes(seed: int, size: int = 15, domains: int = 5, side: int = 64) -> dict[str, Tensor]:
    """Draw a batch that a small network can learn and that shows nobody: noise, and faint stripes per "method".

    Domain 0 ("real") is noise alone; domain j > 0 has stripes in the j-th direction. Domains have equal shares.

    Args:
        seed: of the noise; the same seed gives the same batch.
        size: n, a multiple of `domains`.
        domains: k + 1.
        side: of the images in pixels.

    Returns:
        `image` (n, 1, side, side) in [0, 1], `label` (n,), `domain` (n,), as `did.data.loading` gives them.
    """
    noise = torch.rand(size, 1, side, side, generator=torch.Generator().manual_seed(seed))
    domain = torch.arange(domains).repeat(size // domains)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angle = math.pi * (domain - 1)[:, None, None] / (domains - 1)
    wave = (2 * math.pi / 8 * (x * angle.cos() + y * angle.sin())).sin() * (domain > 0)[:, None, None]
    return {"image": (0.8 * noise + 0.1 + 0.1 * wave[:, None]), "label": (domain > 0).long(), "domain": domain}


def real_in_batches(
    batches: int, images: Sequence[int] = (1000,) * 5, batch_size: int = 15, seed: int = 0
) -> pd.DataFrame:
    """Count the real images per batch, under both samplers of `did.data.loading`.

    Args:
        batches: how many to draw from each.
        images: how many there are of each domain; the first is real.
        batch_size: images per batch.
        seed: of the draws.

    Returns:
        One row per sampler and number of real images from 0 to `batch_size`: `sampler`, `real`, `share` of the batches.
    """
    domains = np.repeat(np.arange(len(images)), images)
    rows = []
    for name, sampler in (("balanced", BalancedBatches), ("uniform", UniformBatches)):
        counts = np.zeros(batch_size + 1)
        for drawn in sampler(domains, batch_size, batches, seed):
            counts[int((domains[drawn] == 0).sum())] += 1
        rows += [{"sampler": name, "real": i, "share": n / batches} for i, n in enumerate(counts)]
    return pd.DataFrame(rows)


def real_bars(shares: pd.DataFrame, stamp: str) -> Plot:
    """Draw the bars of `real_in_batches`."""
    figure, axes = canvas(8, 2.8)
    axis = axes[0, 0]
    most = int(shares.real[shares.share > 0].max())
    for i, (name, part) in enumerate(shares.groupby("sampler", sort=False)):
        axis.bar(part.real + 0.4 * (i - 0.5), part.share, 0.4, label=name, color=PALETTE[1 + i], edgecolor="black",
                 hatch=HATCHES[i])  # fmt: skip
    axis.set(xlabel="real images in a batch", ylabel="share of the batches", xlim=(-0.8, most + 0.8))
    axis.set_xticks(range(most + 1))
    axis.legend(fontsize=8)
    sns.despine(ax=axis)
    put_stamp(figure, stamp)
    said = []
    for name, part in shares.groupby("sampler", sort=False):
        mean = (part.real * part.share).sum()
        none = part.share[part.real == 0].sum()
        said.append(f"{name}, {mean:.3f} on average and none in a share of {none:.3f} of the batches")
    return Plot(figure, shares, f"Real images in a batch: {'; '.join(said)}.")


def factors(progresses: Sequence[float], settings: Settings | None = None) -> pd.DataFrame:
    """Tabulate who gets Î's gradient with which factor, under each reading of §3.3 and Eq. 12.

    Args:
        progresses: shares of the training done, in [0, 1].
        settings: the rest of the settings (λ_dec); the paper's by default.

    Returns:
        One row per reading and progress: `adversary`, `estimator_weight`, `progress`, `beta`; `T's loss`, the weight of
        -Î in the sum; `G and A_df`, the factor of the gradient of Î that they descend; `T's rate`, the factor of η_φ.
    """
    base = settings or Settings()
    rows = []
    for adversary in ("grl", "eq12"):
        for weight in ("lambda_dec", "one"):
            chosen = Settings.of({**base.as_dict(), "adversary": adversary, "estimator_weight": weight})
            for progress in progresses:
                own, reversal, rate = adversary_scales(chosen, progress)
                rows.append(
                    {
                        "adversary": adversary,
                        "estimator_weight": weight,
                        "progress": progress,
                        "beta": beta(progress),
                        "T's loss": own,
                        "G and A_df": own * reversal,
                        "T's rate": rate,
                    }
                )
    return pd.DataFrame(rows)


def factor_curves(table: pd.DataFrame, stamp: str) -> Plot:
    """Draw β over the training, and what it scales under each reading."""
    figure, axes = canvas(11, 3.2, 1, 3)
    first, *rest = axes[0]
    shown = table.drop_duplicates("progress")
    first.plot(shown.progress, shown.beta, color="black")
    first.set(title="β", ylim=(-0.03, 1.03))
    # The weight of T's own loss changes neither of the two: one line an adversary.
    for axis, name in zip(rest, ("G and A_df", "T's rate"), strict=True):
        for i, (adversary, part) in enumerate(table.groupby("adversary", sort=False)):
            one = part.drop_duplicates("progress")
            axis.plot(one.progress, one[name], color=PALETTE[(6, 4)[i]], ls=("-", "--")[i], label=adversary)
        axis.set(ylim=(-0.03 * table[name].max(), 1.08 * table[name].max()))
    rest[0].set_title("factor of Î's gradient for G and A_df")
    rest[1].set_title("factor of T's rate")
    for axis in axes[0]:
        axis.set_xlabel("share of the training done")
        sns.despine(ax=axis)
    legend_above(figure, axes[:, 1:], 2)
    put_stamp(figure, stamp)
    start, end = table[table.progress == table.progress.min()], table[table.progress == table.progress.max()]
    said = []
    for adversary in ("grl", "eq12"):
        a, b = (ends[ends.adversary == adversary].iloc[0] for ends in (start, end))
        moves = [f"{name} from {a[name]:.3f} to {b[name]:.3f}" for name in ("G and A_df", "T's rate")]
        said.append(f"under {adversary} the factor of {moves[0]} and of {moves[1]}")
    words = f"β rises from {shown.beta.iloc[0]:.3f} to {shown.beta.iloc[-1]:.3f}; {'; '.join(said)}."
    return Plot(figure, table, words)


def gradient_flow(task: DIDTask, batch: Mapping[str, Tensor], progress: float = 0.5, seed: int = 0) -> pd.DataFrame:
    """Measure the gradient that each module gets from each named loss term.

    Args:
        task: its weights stay as they are.
        batch: see `DIDTask.forward`.
        progress: share of the training done; it decides β.
        seed: of the marginal's permutation.

    Returns:
        One row per term and module: `term`, `module`, `state` and `norm`. The state is `reaches`; `zero`, if there is a
        path but the gradient on it is 0; `no path`; or `absent`, if the task has no such term or module. The norm is
        over all parameters of the module, and 0 but for `reaches`.
    """
    found = task(dict(batch), progress, seed).terms
    rows = []
    for term in TERMS:
        for name, attribute in MODULES.items():
            module = getattr(task.model, attribute)
            state, norm = "absent", 0.0
            if term in found and module is not None:
                parts = torch.autograd.grad(
                    found[term], list(module.parameters()), retain_graph=True, allow_unused=True
                )
                squares = [float(part.square().sum()) for part in parts if part is not None]
                norm = math.sqrt(sum(squares))
                state = "no path" if not squares else "reaches" if norm > 0 else "zero"
            rows.append({"term": term, "module": name, "state": state, "norm": norm})
    return pd.DataFrame(rows)


def _norm(value: float) -> str:
    return f"{value:.3f}" if value >= 0.0005 else f"{value:.1e}"


def flow_matrix(flows: Mapping[str, pd.DataFrame], stamp: str) -> Plot:
    """Draw `gradient_flow` as a matrix of terms and modules, one panel per entry of `flows`."""
    figure, axes = canvas(3.9 * len(flows), 2.5, 1, len(flows))
    look: dict[str, tuple[str, str]] = {
        "reaches": (PALETTE[2], ""), "zero": ("white", "..."), "no path": ("white", ""), "absent": ("#DDDDDD", "///"),
    }  # fmt: skip
    said = []
    for axis, (title, flow) in zip(axes[0], flows.items(), strict=True):
        for cell in flow.itertuples():
            x, y = list(MODULES).index(str(cell.module)), TERMS.index(str(cell.term))
            colour, hatch = look[str(cell.state)]
            axis.add_patch(
                Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, hatch=hatch, edgecolor=GRAY, linewidth=0.8)
            )
            if cell.state in ("reaches", "zero"):
                text = f"{cell.norm:.2g}" if cell.state == "reaches" else "0"
                axis.text(
                    x,
                    y,
                    text,
                    ha="center",
                    va="center",
                    fontsize=7,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1} if cell.state == "zero" else None,
                )
        axis.set(xlim=(-0.5, len(MODULES) - 0.5), ylim=(len(TERMS) - 0.5, -0.5), title=title)
        axis.set_xticks(range(len(MODULES)), list(MODULES))
        axis.set_yticks(range(len(TERMS)), [f"loss term {term}" if axis is axes[0, 0] else term for term in TERMS])
        axis.tick_params(length=0)
        reached = [
            f"{term} reaches "
            + ", ".join(f"{cell.module} ({_norm(cell.norm)})" for cell in part.itertuples() if cell.state == "reaches")
            for term, part in flow[flow.state == "reaches"].groupby("term", sort=False)
        ]
        blocked = [f"{cell.term} on its way to {cell.module}" for cell in flow.itertuples() if cell.state == "zero"]
        said.append(f"{title}: {'; '.join(reached)}" + (f"; blocked: {', '.join(blocked)}" if blocked else ""))
    keys = [
        Rectangle((0, 0), 1, 1, facecolor=colour, hatch=hatch, edgecolor=GRAY, label=label)
        for label, (colour, hatch) in zip(
            ("gradient, with its norm", "a path, but the gradient is 0", "no path", "not there"),
            look.values(),
            strict=True,
        )
    ]
    figure.legend(handles=keys, loc="outside upper center", ncols=4, fontsize=8)
    put_stamp(figure, stamp)
    data = pd.concat([flow.assign(panel=title) for title, flow in flows.items()], ignore_index=True)
    return Plot(figure, data, f"Gradient norms by loss term and module. {'. '.join(said)}.")


def shares_of_dec(task: DIDTask, batch: Mapping[str, Tensor], progresses: Sequence[float]) -> pd.DataFrame:
    """Measure the norm of dec's gradient on G, A_df and T during training, relative to the last point.

    The weights stay as they are, so that only β changes. Index: progress; columns: beta, G, A_df, T.
    """
    rows = {}
    for progress in progresses:
        flow = gradient_flow(task, batch, progress)
        norms = flow[flow.term == "dec"].set_index("module").norm
        rows[progress] = {"beta": beta(progress), **{name: norms[name] for name in ("G", "A_df", "T")}}
    table = pd.DataFrame(rows).T.rename_axis("progress")
    return table.assign(**{name: table[name] / table[name].iloc[-1] for name in ("G", "A_df", "T")})


def algorithm_2(settings: Settings, iterations: int) -> pd.DataFrame:
    """Run Algorithm 2 on `stripes`, with a fresh batch each iteration: the inner loop of `did.training.loop.fit`.

    Args:
        settings: the run's; model, losses, rates and seed are used.
        iterations: how many.

    Returns:
        The history: one row an iteration, with the named losses and what the log holds beside them.
    """
    torch.manual_seed(settings.seed)
    task = DIDTask(settings, 5)
    fabric = Fabric(accelerator="cpu", devices=1)
    module, optimizer = fabric.setup(task, optimizer_for(task))
    rows = []
    for iteration in range(iterations):
        progress = iteration / iterations
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * task.rate_factor(group["name"], progress)
        batch = stripes(iteration, side=settings.image_size)
        step = train_step(fabric, module, optimizer, lambda: module(batch, progress, iteration, True))  # noqa: B023
        rows.append({"iteration": iteration, **step.losses, **step.values})
    return pd.DataFrame(rows)


def reading_curves(histories: Mapping[str, pd.DataFrame], stamp: str) -> Plot:
    """Draw the classification loss, the domain loss and T's estimate over the iterations, for several readings."""
    panels = {"cls": "λ_cls · L_cls", "dom": "λ_dom · L_dom", "estimate": "T's estimate Î"}
    figure, axes = canvas(11, 3.2, 1, 3)
    for axis, (key, title) in zip(axes[0], panels.items(), strict=True):
        for i, (name, history) in enumerate(histories.items()):
            axis.plot(history.iteration, history[key], color=PALETTE[(6, 4, 3)[i % 3]], ls=("-", "--", ":")[i % 3],
                      label=name)  # fmt: skip
        axis.set(title=title, xlabel="iteration")
        sns.despine(ax=axis)
    axes[0, 2].axhline(-2 * math.log(2), color=GRAY, ls=":", lw=1)
    legend_above(figure, axes, len(histories))
    put_stamp(figure, stamp)
    data = pd.concat(
        [history[["iteration", *panels]].assign(reading=name) for name, history in histories.items()], ignore_index=True
    )
    said = "; ".join(
        f"{name}: " + ", ".join(f"{key} from {of[key].iloc[0]:.3f} to {of[key].iloc[-1]:.3f}" for key in panels)
        for name, of in histories.items()
    )
    return Plot(figure, data, f"Losses over the iterations. {said}.")


def chain(
    scale: float, weight_decay: float, steps: int, decoupled: bool = False, depth: int = 4, lr: float = 1e-3
) -> pd.DataFrame:
    """Train a chain of weights, as many as T has layers, with Adam: a stand-in for T that can be followed by eye.

    The score of x is w_1 · … · w_depth · x. It has to tell a sign that agrees with x's in two cases of three. The loss
    is the logistic loss times `scale`. All weights start at .5; every step sees the same 512 points.

    Args:
        scale: the weight of the loss, as λ_dec is.
        weight_decay: Adam's; coupled, that is added to the gradient (§4.1.3), or decoupled as in AdamW.
        steps: how many.
        decoupled: AdamW in place of Adam.
        depth: number of weights.
        lr: Adam's rate.

    Returns:
        One row per step: `step`, `norm` of the weights, `loss` without its scale. A collapsed chain has the loss log 2.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, generator=generator)
    sign = torch.sign(0.5 * x + math.sqrt(0.75) * torch.randn(512, generator=generator))
    weights = torch.full((depth,), 0.5, requires_grad=True)
    kind: Any = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = kind([weights], lr=lr, weight_decay=weight_decay)
    rows = []
    for step in range(steps):
        loss = softplus(-sign * x * weights.prod()).mean()
        rows.append({"step": step, "norm": weights.detach().norm().item(), "loss": loss.item()})
        optimizer.zero_grad()
        (scale * loss).backward()
        optimizer.step()
    return pd.DataFrame(rows)


def chain_curves(paths: Mapping[str, pd.DataFrame], stamp: str) -> Plot:
    """Draw the norm of the weights and the loss of several chains."""
    figure, axes = canvas(10, 3.2, 1, 2)
    styles = ("-", "--", "-.", ":")
    for i, (name, path) in enumerate(paths.items()):
        for axis, key in zip(axes[0], ("norm", "loss"), strict=True):
            # Curves that coincide stay visible: each is thinner than the one below it.
            look = {"color": PALETTE[(0, 1, 6, 4)[i % 4]], "ls": styles[i % 4], "lw": 3.5 - 0.8 * (i % 4)}
            axis.plot(path.step, path[key], label=name, **look)
    axes[0, 0].set(title="norm of the weights", xlabel="step", ylim=(0, None))
    axes[0, 1].set(title="loss, without its scale", xlabel="step")
    axes[0, 1].axhline(math.log(2), color=GRAY, ls=":", lw=1)
    for axis in axes[0]:
        sns.despine(ax=axis)
    legend_above(figure, axes, 2)
    put_stamp(figure, stamp)
    data = pd.concat([path.assign(chain=name) for name, path in paths.items()], ignore_index=True)
    said = "; ".join(
        f"{name}: norm from {path.norm.iloc[0]:.3f} to {path.norm.iloc[-1]:.3f}, loss at last {path.loss.iloc[-1]:.3f}"
        for name, path in paths.items()
    )
    return Plot(figure, data, f"A chain of weights under Adam. {said}.")
