"""From gradients to weights: SGD with a falling rate, and AdamW.

    SGD      w <- w - lr / sqrt(t + 1) * g                                  t = 0, 1, ...

    AdamW    w <- w - lr * decay * w                                        t = 1, 2, ...
             m <- b1 m + (1 - b1) g          v <- b2 v + (1 - b2) g^2
             w <- w - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)

m and v are running means of the gradient and of its square.  They start at zero, so early ones are too small;
dividing by 1 - b^t makes up for that exactly.  The decay is decoupled (Loshchilov & Hutter 2019): it does not pass
through m and v, and it comes first, as in torch.optim.AdamW, whose results these are.
AdamW keeps two numbers per parameter and takes about 14 FLOPs for it per step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch


class SGD(torch.optim.Optimizer):
    """Gradient descent whose rate falls with the root of the step.  ValueError for a negative lr."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        if not lr >= 0:
            raise ValueError(f"lr = {lr} should not be negative")
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; `closure` may work out the loss anew, which is returned."""
        loss = _loss_of(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                t = self.state[p].get("t", 0)
                p.add_(p.grad, alpha=-group["lr"] / math.sqrt(t + 1))
                self.state[p]["t"] = t + 1
        return loss


class AdamW(torch.optim.Optimizer):
    """State per parameter: step, exp_avg (m), exp_avg_sq (v), as torch.optim.AdamW has it: either loads the other's.

    ValueError for a negative lr, eps or weight_decay, and for betas outside [0, 1).
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        if not (lr >= 0 and eps >= 0 and weight_decay >= 0):  # and not min(...), which may pass over a NaN
            raise ValueError(f"lr = {lr}, eps = {eps}, weight_decay = {weight_decay}: none should be negative")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas = {betas} should both lie in [0, 1)")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; parameters without a gradient stay as they are, undecayed."""
        loss = _loss_of(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group)
        return loss

    def _update(self, p: torch.Tensor, g: torch.Tensor, group: dict[str, Any]) -> None:
        lr, (b1, b2), state = group["lr"], group["betas"], self.state[p]
        if not state:
            state |= {"step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        state["step"] += 1
        t, m, v = int(state["step"]), state["exp_avg"], state["exp_avg_sq"]
        p.mul_(1 - lr * group["weight_decay"])
        m.lerp_(g, 1 - b1)  # m + (1 - b1) (g - m)
        v.mul_(b2).addcmul_(g, g, value=1 - b2)
        root = (v.sqrt() / math.sqrt(1 - b2**t)).add_(group["eps"])
        p.addcdiv_(m, root, value=-lr / (1 - b1**t))


def _loss_of(closure: Callable[[], Any] | None) -> Any:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
