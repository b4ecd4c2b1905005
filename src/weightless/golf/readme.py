"""README.md of a submission, from what was measured: its score, its bytes, how to score and train it again."""

from __future__ import annotations

import json
from typing import Any

from weightless.golf.names import ARTIFACT, NEEDS, PIECES, SCRIPT
from weightless.golf.scoring import Scored
from weightless.golf.sizes import CAP, Sizes


def readme(values: dict[str, Any], recipe: dict[str, Any] | None, scored: Scored) -> str:
    """The text; `recipe` is None for a script that only decodes and scores."""
    sizes = Sizes(values["bytes_code"], values["bytes_weights"])
    parts = [
        f"# {values['name']}",
        values["blurb"],
        _score_table(values, scored),
        "## Bytes\n\n```\n" + "\n".join(sizes.lines()) + f"\n```\n\nThe cap is {CAP:,} bytes, decimal.",
        _scoring(values),
        _training(values, recipe),
    ]
    return "\n\n".join(parts) + "\n"


def _score_table(values: dict[str, Any], scored: Scored) -> str:
    bpb = values["val_bpb"]
    rows = [
        ("bits per byte", f"{bpb:.5f}" if bpb is not None else f"unknown: {scored.refused}"),
        ("nats per token", f"{values['val_loss']:.5f}"),
        ("targets", f"{values['eval_tokens']:,} of {values['val_tokens'] - 1:,}, each once"),
        ("bytes of raw text", f"{values['eval_bytes']:,}"),
        (
            "windows",
            f"{values['context']:,} tokens, " + (f"every {values['stride']}" if values["stride"] else "side by side"),
        ),
        ("validation text", f"{values['corpus']}, ids {values['val_sha256'][:16]}"),
        ("parameters", f"{values['n_parameters']:,}"),
    ]
    if values["cut_tokens"]:
        rows.append(("cut off at the end", f"{values['cut_tokens']:,} targets that fill no window"))
    if values["sampled"]:
        rows.append(("sample", "windows spread evenly over the stream, not all of it"))
    for seed, result in values.get("seed_results", {}).items():
        rows.append((f"seed {seed}", f"{result['val_loss']:.5f} nats per token, {result['bytes_total']:,} bytes"))
    return "\n".join(["| what | value |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)])


def _scoring(values: dict[str, Any]) -> str:
    flags = f" --stride {values['stride']}" if values["stride"] else ""
    flags += " --whole_windows" if values["cut_tokens"] else ""
    flags += f" --tokens {values['asked_tokens']}" if values["sampled"] else ""
    return (
        f"## Score it again\n\n```\npython {SCRIPT} --score CORPUS{flags}\n```\n\n"
        f"{NEEDS}, and nothing else but this folder: `{SCRIPT}` carries the engine, `{ARTIFACT}` the weights"
        f" (and the tokenizer, unless `{PIECES}` lies beside them). CORPUS is a prepared corpus, a token shard or a "
        f"text.\n"
        f"`weightless golf check` of this folder scores it too, and checks the rest."
    )


def _training(values: dict[str, Any], recipe: dict[str, Any] | None) -> str:
    if recipe is None:
        return "## Training\n\nThis script decodes and scores; it was built without its training (`--decode_only`)."
    told = json.dumps({key: recipe[key] for key in ("family", "seed", "config", "loop")}, indent=1)
    return (
        f"## Train it again\n\n```\npython {SCRIPT} --train CORPUS --out trained\n```\n\n"
        f"Needs torch, safetensors and tomli-w as well. The recipe, seed {values['seed']}:\n\n```json\n{told}\n```"
    )
