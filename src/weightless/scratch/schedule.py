"""The learning rate by iteration: a rise, half a cosine down, a floor.

t < T_w            t / T_w * max                                            warm-up: m and v are still guesses
T_w <= t <= T_c    min + (1 + cos(pi (t - T_w) / (T_c - T_w))) / 2 * (max - min)
t > T_c            min
"""

from __future__ import annotations

import math


def get_lr_cosine_schedule(
    it: int, max_learning_rate: float, min_learning_rate: float, warmup_iters: int, cosine_cycle_iters: int
) -> float:
    """The rate of iteration `it`, counted from 0 (which has rate 0, unless there is no warm-up).

    T_w = warmup_iters, T_c = cosine_cycle_iters.  ValueError where T_c lies before T_w, and before iteration 0.
    """
    if not 0 <= warmup_iters <= cosine_cycle_iters:
        raise ValueError(f"warm-up ends at {warmup_iters} and the cosine at {cosine_cycle_iters}: give 0 <= T_w <= T_c")
    if it < 0:
        raise ValueError(f"it = {it}: iterations are counted from 0")
    if it < warmup_iters:
        return it / warmup_iters * max_learning_rate
    if it >= cosine_cycle_iters:
        return min_learning_rate
    share = (it - warmup_iters) / (cosine_cycle_iters - warmup_iters)
    return min_learning_rate + 0.5 * (1 + math.cos(math.pi * share)) * (max_learning_rate - min_learning_rate)
