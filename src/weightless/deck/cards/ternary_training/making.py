"""How our checkpoint of the ternary card is made: trained by this library, then written as plain arrays (floor 9).

    python -m weightless.deck.cards.ternary_training.making text FOLDER
    weightless data prepare FOLDER/data --text FOLDER/train_data.txt --validation FOLDER/valid.txt --vocab-size 257
    weightless train qwen3 --data FOLDER/data --out FOLDER/ternary --weight_format t2_g128 --qat_start 0
        --d_model 128 --n_layers 3 --n_heads 4 --n_kv_heads 2 --d_head 32 --d_ff 256 --context 256 --kv_format f32
        --num_steps 900 --threads 1 --batch_size 8 --max_lr 0.02 --muon_lr 0.04 --min_lr_ratio 0.02 --eval_tokens 8192
    python -m weightless.deck.cards.ternary_training.making checkpoint FOLDER/ternary INTO

The 257th token, the end of a text, is left out: it never occurs.  Codes and scales are those of the artifact, to the
bit; nothing is projected again.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.files import atomic_write
from weightless.deck.cards.ternary_training.checkpoint import GROUP, N_BYTES
from weightless.deck.cards.ternary_training.text import training_text
from weightless.export.packed import Packed, open_packed
from weightless.layers.foreign import GATED_KEYS
from weightless.quant.formats import decode_rows

OTHERWISE_PINNED = ("vocab_size", "attention_bias")
KEYS = {name: key for name, key in GATED_KEYS.items() if name not in OTHERWISE_PINNED} | {"rope_theta": "rope_theta"}
VALIDATION_SEED, VALIDATION_BYTES = 1, 60_000


def write_texts(folder: Path) -> None:
    """train_data.txt and valid.txt."""
    atomic_write(folder / "train_data.txt", training_text())
    atomic_write(folder / "valid.txt", training_text(VALIDATION_SEED, VALIDATION_BYTES))


def write_checkpoint(packed: Packed, losses: list[float], into: Path) -> None:
    """solution_config.json and solution_weights.npz of a packed qwen3 whose matrices are t2_g128 and tied.

    Raises ConfigError for another family or format.
    """
    if packed.family != "qwen3":
        raise ConfigError(f"a checkpoint of the card is a qwen3, not {packed.family}")
    given = packed.artifact.meta["config"]
    config: dict[str, Any] = {name: given[key] for name, key in KEYS.items()}
    config |= {"vocab_size": N_BYTES, "group_size": GROUP}
    arrays: dict[str, np.ndarray] = {}
    for name, rows in matrices(packed, config).items():
        arrays[f"codes/{name}"], arrays[f"scales/{name}"] = codes_and_scales(rows)
    arrays |= {f"norms/{name}": stored_rows(packed, tensor)[0] for name, tensor in norm_names(config).items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    atomic_write(into / "solution_weights.npz", buffer.getvalue())
    atomic_write(into / "solution_config.json", json.dumps({"config": config, "losses": losses}) + "\n")


def matrices(packed: Packed, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Decoded matrices by Qwen3's names; ours hold queries, keys and values in one, and gate and up in one."""
    heads = [config[name] * config["head_dim"] for name in ("num_attention_heads", "num_key_value_heads")]
    found = {"model.embed_tokens.weight": stored_rows(packed, "embed")[:N_BYTES]}
    for i in range(config["num_hidden_layers"]):
        at, block = f"model.layers.{i}.", f"block.{i}."
        q, k, v = np.split(stored_rows(packed, block + "qkv"), [heads[0], sum(heads)])
        gate, up = np.split(stored_rows(packed, block + "up"), 2)
        named = {"self_attn.q_proj": q, "self_attn.k_proj": k, "self_attn.v_proj": v, "mlp.gate_proj": gate}
        named |= {"mlp.up_proj": up, "mlp.down_proj": stored_rows(packed, block + "down")}
        named |= {"self_attn.o_proj": stored_rows(packed, block + "out")}
        found |= {f"{at}{name}.weight": rows for name, rows in named.items()}
    return found


def norm_names(config: dict[str, Any]) -> dict[str, str]:
    """Qwen3's name of each norm, and ours."""
    ours = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    ours |= {"self_attn.q_norm": "q_norm", "self_attn.k_norm": "k_norm"}
    names = {"model.norm.weight": "final_norm"}
    for i in range(config["num_hidden_layers"]):
        names |= {f"model.layers.{i}.{name}.weight": f"block.{i}.{own}" for name, own in ours.items()}
    return names


def stored_rows(packed: Packed, name: str) -> np.ndarray:
    """float32 (R, C) of one tensor, as the engine reads it."""
    tensor = next(tensor for tensor in packed.program.stored() if tensor.name == name)
    return np.asarray(decode_rows(packed.artifact.view(name), tensor.format, tensor.shape[1]))


def codes_and_scales(rows_RC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int8 codes, float16 scales) of decoded ternary rows: a group's scale is its one absolute value, or 0."""
    starts = np.arange(0, rows_RC.shape[1], GROUP)
    scales = np.maximum.reduceat(np.abs(rows_RC), starts, axis=1).astype(np.float16)
    codes = np.sign(rows_RC).astype(np.int8)
    again = codes * np.repeat(scales.astype(np.float32), GROUP, axis=1)[:, : rows_RC.shape[1]]
    if not np.array_equal(again, rows_RC):
        raise ConfigError("a matrix of the model is not ternary in groups of 128: train it with weight_format t2_g128")
    return codes, scales


def main(arguments: list[str]) -> None:
    """`text FOLDER` or `checkpoint RUN INTO`."""
    if arguments[:1] == ["text"] and len(arguments) == 2:
        write_texts(Path(arguments[1]))
    elif arguments[:1] == ["checkpoint"] and len(arguments) == 3:
        run = Path(arguments[1])
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses = [round(line["train_loss"], 4) for line in lines if line.get("train_loss") is not None]
        write_checkpoint(open_packed(run / "model.wl"), losses, Path(arguments[2]))
    else:
        raise ConfigError("say: text FOLDER, or: checkpoint RUN INTO")


if __name__ == "__main__":
    main(sys.argv[1:])
