"""From the numbers of a group to its scale: the rules, in float32 and in an order of sums that other twins can repeat.

With m = (levels - 1) / 2, the largest code (7 for int4, 1.5 for int2, 1/2 for binary), and x the numbers of a group:

    absmax       s = max|x| / m
    absmean      s = k mean|x| / m              k = 1 for two and three levels (BitNet b1.58: s = mean|x|)
    std          s = k sqrt(mean x^2) / m       the clip in standard deviations (of numbers around zero)
    quantile     s = q-quantile of |x| / m      linear between order statistics; q = 0.9999984 when nothing is said
    lsq          s = sum q x / sum q^2 with q = codes(x / s), twice from the usual std on, and from absmax, 0.9 and 0.8
                 of it: of these twelve scales the one that errs least

Where no k is said it is what errs least for normal numbers (for absmean: the usual clip over 0.7979).  Sums are made by
halves: x[:h] + x[h:] until one number is left, padded with zeros to a power of two, so that NumPy and PyTorch agree to
the bit.  A group of zeros has s = 0.
"""

from __future__ import annotations

import numpy as np

from weightless.base.format_names import LEVELS, FormatName, usual_rule

USUAL_CLIP = {2: 0.798, 3: 1.224, 4: 1.4935, 7: 1.9525, 15: 2.474, 31: 2.8985, 63: 3.27, 255: 3.9205}
"""Largest value over standard deviation that errs least for normal numbers, by levels."""
MEAN_OF_NORMAL = 0.7978845608028654
ROUNDS = 2
SHARES = (1.0, 0.9, 0.8)
"""Of `lsq`: steps from each start, and starts in absmax."""


def rule_of(name: FormatName) -> tuple[str, float]:
    """(rule, its number) of a format with scales."""
    rule, levels = name.rule or usual_rule(name.base), LEVELS[name.base]
    if name.number or rule in ("absmax", "lsq"):
        return rule, name.number
    if rule == "absmean":
        return rule, 1.0 if levels < 4 else round(USUAL_CLIP[levels] / MEAN_OF_NORMAL, 4)
    return rule, USUAL_CLIP[levels] if rule == "std" else 0.9999984


def wanted_scales(x_RGL: np.ndarray, count_G: np.ndarray, name: FormatName) -> np.ndarray:
    """Scales float32 [R, G] of groups whose first `count_G` numbers count; zeros lie behind them."""
    rule, number = rule_of(name)
    limit = np.float32((LEVELS[name.base] - 1) / 2)
    size_RGL = np.abs(x_RGL)
    if rule == "absmax":
        return size_RGL.max(axis=2, initial=0) / limit
    if rule == "absmean":
        return halved_sum(size_RGL) / count_G.astype(np.float32) * (np.float32(number) / limit)
    if rule == "quantile":
        return _quantile(size_RGL, count_G, number) / limit
    clip = number if rule == "std" else USUAL_CLIP[LEVELS[name.base]]
    spread_RG = np.sqrt(halved_sum(x_RGL * x_RGL) / count_G.astype(np.float32)) * (np.float32(clip) / limit)
    if rule == "std":
        return spread_RG
    largest_RG = size_RGL.max(axis=2, initial=0) / limit
    starts = [spread_RG, *(largest_RG * np.float32(share) for share in SHARES)]
    return _least_squares(x_RGL, starts, count_G, LEVELS[name.base])


def codes(x_RGL: np.ndarray, scale_RG: np.ndarray, levels: int) -> np.ndarray:
    """The nearest values in units of the scale, float32 -m … m; of two equally near the even one (three levels and more
    that are odd) or the upper one.  A scale of 0 gives 0, or where there is no 0, half a unit."""
    divisor_RG1 = np.where(scale_RG > 0, scale_RG, np.float32(1))[:, :, None]
    limit, ratio_RGL = np.float32((levels - 1) / 2), x_RGL / divisor_RG1
    near = np.rint(ratio_RGL) if levels % 2 else np.floor(ratio_RGL) + np.float32(0.5)
    return np.clip(near, -limit, limit)


def halved_sum(x_RGL: np.ndarray) -> np.ndarray:
    """The sum over the last axis in the order described above."""
    size = x_RGL.shape[2]
    power = 1 << max(0, size - 1).bit_length()
    if power != size:
        x_RGL = np.pad(x_RGL, ((0, 0), (0, 0), (0, power - size)))
    while power > 1:
        power //= 2
        x_RGL = x_RGL[:, :, :power] + x_RGL[:, :, power:]
    return x_RGL[:, :, 0]


def _quantile(size_RGL: np.ndarray, count_G: np.ndarray, q: float) -> np.ndarray:
    """Linear between the order statistics around place q (n - 1); the zeros behind a short group come first."""
    sorted_RGL = np.sort(size_RGL, axis=2)
    places = [quantile_place(int(n), size_RGL.shape[2], q) for n in count_G]
    groups = np.arange(len(places))
    low, high, share = (np.array(part) for part in zip(*places))
    below, above = sorted_RGL[:, groups, low], sorted_RGL[:, groups, high]
    return below + (above - below) * share.astype(np.float32)


def quantile_place(n: int, size: int, q: float) -> tuple[int, int, float]:
    """(the order statistic below, that above, how far between) of n numbers behind size - n zeros."""
    place = q * (n - 1)
    low = min(int(place), n - 1)
    return size - n + low, size - n + min(low + 1, n - 1), place - low


def _least_squares(x_RGL: np.ndarray, starts: list[np.ndarray], count_G: np.ndarray, levels: int) -> np.ndarray:
    best_RG, least_RG = starts[0], _error(x_RGL, starts[0], count_G, levels)
    for start, scale_RG in enumerate(starts):
        for turn in range(ROUNDS + 1):
            if turn:
                q_RGL = _counted(codes(x_RGL, scale_RG, levels), count_G)
                power_RG = halved_sum(q_RGL * q_RGL)
                scale_RG = halved_sum(q_RGL * x_RGL) / np.where(power_RG > 0, power_RG, np.float32(1))
                scale_RG = np.maximum(scale_RG, np.float32(0))
            if start or turn:
                error_RG = _error(x_RGL, scale_RG, count_G, levels)
                best_RG = np.where(error_RG < least_RG, scale_RG, best_RG)
                least_RG = np.minimum(error_RG, least_RG)
    return best_RG


def _error(x_RGL: np.ndarray, scale_RG: np.ndarray, count_G: np.ndarray, levels: int) -> np.ndarray:
    """Sum of squared differences."""
    q_RGL = _counted(codes(x_RGL, scale_RG, levels), count_G)
    difference = x_RGL - q_RGL * scale_RG[:, :, None]
    return halved_sum(difference * difference)


def _counted(q_RGL: np.ndarray, count_G: np.ndarray) -> np.ndarray:
    """Codes of what counts, zeros behind it (where there is no code 0, padding would have one)."""
    return np.where(np.arange(q_RGL.shape[2]) < count_G[:, None], q_RGL, np.float32(0))
