"""A loss term of your own: DID with a penalty on how far M_df is from half of its entries.

did train ffpp --plugin examples/loss_term.py --task did-balanced --option weight=0.1
"""

import dataclasses

import did
from did.method.task import DIDTask


@dataclasses.dataclass(frozen=True)
class Options:
    weight: float = 0.1


@did.register_task("did-balanced")
class Balanced(DIDTask):
    Options = Options

    def forward(self, batch, progress, seed, details=False):
        seen = []  # M_df of this batch, as A_df puts it out
        hook = self.model.deepfake_attention.register_forward_hook(lambda module, inputs, out: seen.append(out))
        step = super().forward(batch, progress, seed, details)
        hook.remove()
        balance = (self.gather(seen[0].mean((1, 2, 3))) - 0.5).square().mean()
        return did.Step({**step.terms, "balance": self.options.weight * balance}, step.logged)
