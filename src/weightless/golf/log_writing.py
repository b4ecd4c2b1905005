"""train.log of a submission: what training reported and what the engine scored, in the words that the field's logs use.

seed:0   model_params:17059912
step:200/20000 train_loss:2.8041 train_time:8677ms
final_roundtrip_exact val_loss:2.06035852 val_bpb:1.21687994 eval_tokens:62021632 eval_bytes:151080363
Code size: 48140 bytes   Total submission size wlz: 15863068 bytes
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weightless.golf.sizes import Sizes

FINAL = "final_roundtrip_exact"


def log_text(
    head: Sequence[str],
    curve: Sequence[dict[str, Any]],
    scored: dict[str, Any],
    sizes: Sizes,
    n_parameters: int,
    seed: int | None,
) -> str:
    """The whole log; `scored` has the keys of submission.json, `curve` is that of metrics.jsonl."""
    lines = [*head, f"model_params:{n_parameters}", *([] if seed is None else [f"seed:{seed}"])]
    total = curve[-1]["step"] if curve else 0
    for entry in curve:
        told = f"step:{entry['step']}/{total}"
        told += f" train_loss:{entry['train_loss']:.4f}" if entry.get("train_loss") is not None else ""
        told += f" val_loss:{entry['val_loss']:.4f}" if entry.get("val_loss") is not None else ""
        lines.append(f"{told} train_time:{1000 * entry['seconds']:.0f}ms tokens:{entry['tokens']}")
    bpb = scored["val_bpb"]
    told = f"{FINAL} val_loss:{scored['val_loss']:.8f}"
    told += f" val_bpb:{bpb:.8f}" if bpb is not None else ""
    told += f" eval_tokens:{scored['eval_tokens']} eval_bytes:{scored['eval_bytes']} cut_tokens:{scored['cut_tokens']}"
    lines += [
        f"val_loader:{scored['corpus']} tokens:{scored['val_tokens']} sha256:{scored['val_sha256']}",
        told,
        f"Serialized model wlz: {sizes.weights} bytes (sha256:{scored['artifact_sha256']})",
        f"Code size: {sizes.code} bytes",
        f"Total submission size wlz: {sizes.total} bytes",
    ]
    return "\n".join(lines) + "\n"
