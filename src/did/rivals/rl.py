"""RL: a plain detector, and a learnt choice of the augmented copies of a test image over which it averages.

Source: Nadimpalli and Rattani (2022), "On improving cross-dataset generalization of deepfake detectors", CVPR
workshops, arXiv:2204.04285. Known are the idea, the learning rule (PPO) and the results; actions, state, reward and
sizes are not, and are our reading.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as V

from did.method.backbones import Backbone, Machine, evaluating
from did.rivals.bce import PlainDetector
from did.settings import Settings
from did.task import Step, Task, register_task
from did.utils import distributed


def _turned(angle: float) -> Callable[[Tensor], Tensor]:
    return lambda images: V.rotate(images, angle, InterpolationMode.BILINEAR)


def _scaled(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda images: V.affine(images, 0.0, [0, 0], factor, [0.0, 0.0], InterpolationMode.BILINEAR)


def _gamma(power: float) -> Callable[[Tensor], Tensor]:
    return lambda images: images.clamp(min=1e-4) ** power


def _contrast(factor: float) -> Callable[[Tensor], Tensor]:
    def changed(images: Tensor) -> Tensor:
        mean = images.mean((2, 3), keepdim=True)
        return (mean + factor * (images - mean)).clamp(0, 1)

    return changed


def _sharpened(images: Tensor) -> Tensor:
    return (images + 0.5 * (images - V.gaussian_blur(images, [3, 3], [1.0, 1.0]))).clamp(0, 1)


#: What may be done to a test image, by name: images (n, c, H, W) in [0, 1] -> the same shape. The first is nothing.
ACTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda images: images,
    "mirrored": lambda images: images.flip(3),
    "turned left": _turned(10),
    "turned right": _turned(-10),
    "brighter": lambda images: (images + 0.1).clamp(0, 1),
    "darker": lambda images: (images - 0.1).clamp(0, 1),
    "more contrast": _contrast(1.2),
    "less contrast": _contrast(0.8),
    "gamma .8": _gamma(0.8),
    "gamma 1.25": _gamma(1.25),
    "blurred": lambda images: V.gaussian_blur(images, [5, 5], [1.0, 1.0]),
    "sharpened": _sharpened,
    "larger": _scaled(1.1),
    "smaller": _scaled(0.9),
}


@dataclasses.dataclass(frozen=True)
class RLOptions:
    """The agent's choices.

    Attributes:
        copies: augmented copies that a score is the mean of, k.
        hidden: units of the policy's hidden layer.
        rounds: of PPO, each with one draw for every validation face.
        rate: of the agent's own Adam.
    """

    copies: int = 3
    hidden: int = 64
    rounds: int = 60
    rate: float = 3e-3


#: PPO's usual constants: clipping, and the weights of the critic's loss and of the entropy.
CLIP, CRITIC, ENTROPY, EPOCHS = 0.2, 0.5, 0.01, 4


class Agent(nn.Module):
    """Features (n, c) -> logits of the actions (n, K), and the critic's value (n,). The first logits are all alike."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(channels, hidden), nn.Tanh())
        self.policy, self.critic = nn.Linear(hidden, len(ACTIONS)), nn.Linear(hidden, 1)
        nn.init.zeros_(self.policy.weight)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(features)
        return self.policy(x), self.critic(x).squeeze(1)


class ChoosingDetector(PlainDetector):
    """The plain detector, whose score is the mean probability over the copies that the agent chooses for each image.

    Images (n, 1, H, W) in [0, 1] -> scores (n,), logits of that mean.

    Examples:
        >>> ChoosingDetector(Backbone("test_efficientnet"), RLOptions()).eval()(torch.rand(2, 1, 64, 64)).shape
        torch.Size([2])
    """

    def __init__(self, backbone: nn.Module, options: RLOptions) -> None:
        super().__init__(backbone)
        self.options = options
        self.agent = Agent(int(backbone.channels), options.hidden).requires_grad_(False)  # type: ignore[arg-type]

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled features (n, c) and the plain scores (n,)."""
        features = self.backbone(images).mean((2, 3))
        return features, self.classifier(features).squeeze(1)

    def forward(self, images: Tensor) -> Tensor:
        features, plain = self.look(images)
        chosen = self.agent(features)[0].topk(self.options.copies).indices
        # Those that are chosen for nobody are not computed.
        copies = plain[:, None].expand(len(images), self.options.copies).sigmoid().clone()
        for number, act in enumerate(ACTIONS.values()):
            rows, places = (chosen == number).nonzero(as_tuple=True)
            if number and len(rows):
                copies[rows, places] = self.look(act(images[rows]))[1].sigmoid()
        return torch.logit(copies.mean(1), eps=1e-6)


def rewards(scores: Tensor, labels: Tensor) -> Tensor:
    """Return what each action would have earned on each face, (n, K).

    It is the log-likelihood of the label under the mean of the copy's and the plain probability, less that under the
    plain one alone.

    Args:
        scores: (n, K) logits of every copy; the first is the plain image's.
        labels: (n,).
    """
    p = scores.sigmoid().clamp(1e-6, 1 - 1e-6)
    wanted = labels[:, None].to(p.dtype)
    both = torch.stack([p[:, :1].expand_as(p), (p + p[:, :1]) / 2])
    likelihood = wanted * both.log() + (1 - wanted) * (1 - both).log()
    return likelihood[1] - likelihood[0]


@register_task("rl")
class RLTask(Task):
    """The plain backbone with binary cross-entropy, then PPO for the choice of augmentations on the validation faces.

    Our readings, since only the idea is published: 14 actions; the state is the pooled features; one draw is an
    episode; the reward is what averaging with the drawn copy adds to the log-likelihood; three copies at test. As in
    the paper the network is trained first and stays as it is. The agent learns from validation faces, because on
    training faces the network is right already and no choice earns anything.
    """

    Options = RLOptions
    no_graph = "each image gets augmented copies of its own"
    model: ChoosingDetector

    def __init__(self, settings: Settings, num_domains: int = 2, options: Any = None) -> None:
        super().__init__(settings, num_domains, options)
        backbone = Backbone(settings.backbone, settings.pretrained, machine=Machine.of(settings))
        self.model = ChoosingDetector(backbone, self.options)

    def forward(self, batch: dict[str, Tensor], progress: float, seed: int, details: bool = False) -> Step:
        """Compute binary cross-entropy of the plain scores."""
        scores, labels = self.gather(self.model.look(batch["image"])[1]), self.gather(batch["label"])
        return Step({"bce": F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype))}, {})

    def finish(self, validation: Any) -> bool:
        """Teach the agent on the validation faces, by PPO on a table of all copies' scores."""
        device = distributed.device_of(self.model)
        features, scores, labels = [], [], []
        with torch.no_grad(), evaluating(self.model):
            for start in range(0, len(validation), 64):
                part = [validation[row] for row in range(start, min(start + 64, len(validation)))]
                images = torch.stack([item["image"] for item in part]).to(device)
                seen = [self.model.look(act(images)) for act in ACTIONS.values()]
                features.append(seen[0][0])
                scores.append(torch.stack([score for _, score in seen], 1))
                labels.append(torch.tensor([item["label"] for item in part], device=device))
        learn(self.model.agent, torch.cat(features), rewards(torch.cat(scores), torch.cat(labels)),
              self.options, self.settings.seed)  # fmt: skip
        return True


def learn(agent: Agent, features: Tensor, earned: Tensor, options: RLOptions, seed: int) -> None:
    """Train an agent from its start by PPO, as a bandit whose states are faces.

    Args:
        agent: is changed in place.
        features: (n, c), the states.
        earned: (n, K), the reward of every action.
        options: rounds and rate.
        seed: of the start and of all draws.

    Source: Schulman and others (2017), "Proximal policy optimization algorithms", arXiv:1707.06347.
    """
    with torch.random.fork_rng([]), torch.enable_grad():
        torch.manual_seed(seed)
        start = Agent(features.shape[1], options.hidden)
        agent.load_state_dict(start.state_dict())
        agent.requires_grad_(True)
        optimizer = torch.optim.Adam(agent.parameters(), options.rate)
        mean, std = earned.mean(), earned.std().clamp(min=1e-8)
        for _ in range(options.rounds):
            with torch.no_grad():
                logits, value = agent(features)
                action = torch.multinomial(logits.softmax(1).cpu(), 1).to(features.device)
                before = logits.log_softmax(1).gather(1, action).squeeze(1)
                gain = (earned.gather(1, action).squeeze(1) - mean) / std
                advantage = gain - value
            for _ in range(EPOCHS):
                logits, value = agent(features)
                chances = logits.log_softmax(1)
                ratio = (chances.gather(1, action).squeeze(1) - before).exp()
                surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
                entropy = -(chances.exp() * chances).sum(1).mean()
                loss = CRITIC * F.mse_loss(value, gain) - surrogate - ENTROPY * entropy
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
    agent.requires_grad_(False)
    for parameter in agent.parameters():
        parameter.grad = None
