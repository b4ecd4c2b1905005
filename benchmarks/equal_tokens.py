"""How far the models of a run lie above one of it, in percent of its nats, where budgets of time gave unequal tokens.

    python benchmarks/equal_tokens.py runs/recorded/few_bits/summary.json --base f32

Pairs share a seed: d = 100 (nats / nats of the base - 1), r = tokens seen / tokens that the base saw.  Beside the mean
of d stands what is left of it at equal tokens: d = a_model + b ln r + noise by least squares, one a for every model
that was trained and one b for all of them, with the half-width of the 95 % interval of a that the residuals give
(Student's t, as many degrees of freedom as values less numbers fitted).  Models rounded from the base saw what it saw.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np

from weightless.lab.report.interval import estimate, t_critical

Pairs = dict[str, list[tuple[float, float]]]


def pairs(summary: dict, base: str) -> Pairs:
    """(d, ln r) over the seeds of every model but the base, in the order of the summary."""
    of_base = {model["seed"]: model for model in summary["models"] if name_of(model) == base}
    if not of_base:
        raise SystemExit(f"no model {base!r}; there are {', '.join(sorted({name_of(m) for m in summary['models']}))}")
    found: Pairs = {}
    for model in summary["models"]:
        other = of_base.get(model["seed"])
        if other is not None and name_of(model) != base:
            d = 100 * (model["nats_per_token"] / other["nats_per_token"] - 1)
            found.setdefault(name_of(model), []).append((d, math.log(model["tokens_seen"] / other["tokens_seen"])))
    return found


def name_of(model: dict) -> str:
    """The recipe's name of a model: its own without the seed."""
    return model["name"].removesuffix(f"-s{model['seed']}")


def at_equal_tokens(trained: Pairs) -> tuple[dict[str, tuple[float, float]], float]:
    """(a, half-width) of every model, and b."""
    names = list(trained)
    rows = [(i, d, x) for i, name in enumerate(names) for d, x in trained[name]]
    design = np.array([[*np.eye(len(names))[i], x] for i, _, x in rows])
    d = np.array([value for _, value, _ in rows])
    fitted, *_ = np.linalg.lstsq(design, d, rcond=None)
    free = len(d) - design.shape[1]
    variance = float(np.square(d - design @ fitted).sum()) / free
    half = t_critical(free) * np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
    return {name: (float(fitted[i]), float(half[i])) for i, name in enumerate(names)}, float(fitted[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("summary", type=Path)
    parser.add_argument("--base", required=True)
    asked = parser.parse_args()
    found = pairs(json.loads(asked.summary.read_text()), asked.base)
    trained = {name: values for name, values in found.items() if any(x for _, x in values)}
    corrected, slope = at_equal_tokens(trained) if trained else ({}, 0.0)
    print(f"| model | % above {asked.base} | tokens, of {asked.base}'s | at equal tokens |\n|---|---:|---:|---:|")
    for name, values in found.items():
        raw = estimate(d for d, _ in values)
        share = math.exp(sum(x for _, x in values) / len(values))
        same = f"{corrected[name][0]:.2f} ± {corrected[name][1]:.2f}" if name in corrected else "the same"
        print(f"| {name} | {raw.mean:.2f} ± {raw.reach:.2f} | {share:.2f} | {same} |")
    if trained:
        print(f"\nOne e-fold more tokens is worth {-slope:.1f} % here.")


if __name__ == "__main__":
    main()
