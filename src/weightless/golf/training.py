"""Train again what a submission holds: the same family, configuration, loop and seed, on a corpus that is named.

The recipe (`subject.Subject.recipe`) is JSON: family, config, loop, seed, train_tokens, corpus (SHA-256 and name).
FOLDER gets what `weightless train` leaves (model.toml, checkpoint/, metrics.jsonl, model.wl) and model.wlz, the
compressed artifact.  A corpus of another text or tokenizer is refused, as is a folder of another training.
Needs torch, safetensors and tomli-w.
"""

from __future__ import annotations

from pathlib import Path

from weightless.artifact.squeezed import squeeze
from weightless.base.config import from_dict
from weightless.base.errors import WeightlessError
from weightless.base.files import read_json, sha256_file
from weightless.data.shards.corpus import corpus
from weightless.golf.names import ARTIFACT
from weightless.lab.checkpoints import ARTIFACT as PACKED
from weightless.lab.checkpoints import pack_checkpoint
from weightless.lab.training import train_model
from weightless.models.catalog import trained
from weightless.train.config import TrainConfig


def train_again(recipe_file: Path, data: Path, out: Path, seed: int | None) -> int:
    """Train, pack, compress; 0, or 3 for a training that diverged."""
    recipe = read_json(recipe_file)
    found = corpus(data)
    wanted = recipe["corpus"]["sha256"]
    if found.sha256 != wanted:
        raise WeightlessError(
            f"{data} holds the text {found.sha256[:12]}, the recipe is of {wanted[:12]} ({recipe['corpus']['name']}): "
            "prepare the same documents in the same order"
        )
    if found.manifest["tokenizer_sha256"] != recipe["tokenizer_sha256"]:
        raise WeightlessError(f"{data} was made with another tokenizer than the model: prepare it with the model's own")
    config = from_dict(trained(recipe["family"]).Config, recipe["config"], "config")
    seed = recipe["seed"] if seed is None else seed
    loop = from_dict(TrainConfig, {**recipe["loop"], "seed": seed}, "loop")
    tokens = found.tokens("train")
    tokens = tokens[: recipe["train_tokens"]] if recipe["train_tokens"] else None
    result = train_model(recipe["family"], config, loop, found, out, out.name, tokens)
    if result.diverged is not None:
        print(f"{out}: {result.diverged.detail}; nothing is packed")
        return 3
    path = pack_checkpoint(out, data, out / PACKED)
    n_bytes = squeeze(path, out / ARTIFACT)
    print(f"{path}: {path.stat().st_size:,} bytes, SHA-256 {sha256_file(path)}")
    print(f"{out / ARTIFACT}: {n_bytes:,} bytes")
    return 0
