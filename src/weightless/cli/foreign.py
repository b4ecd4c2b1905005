"""weightless import | export: other people's forms of a model (Hugging Face, GGUF, MLX) to one artifact, and back."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.files import sha256_file
from weightless.base.units import human_bytes
from weightless.cli.parse import parse

if TYPE_CHECKING:
    from weightless.export.packed import Packed


@dataclass(frozen=True)
class Import:
    """Make one artifact of a folder with config.json, safetensors and a tokenizer, or of a GGUF file (families gpt2,
    llama, qwen3).

    What such a model costs can be asked without its weights: weightless count FOLDER.
    """

    folder: Annotated[str, tyro.conf.Positional]
    """A folder as transformers keeps a model: config.json, model.safetensors or its shards, tokenizer.json; or
    hub:OWNER/NAME[@REVISION], whose files are fetched (only what is read, and checked); or a file of llama.cpp's,
    MODEL.gguf."""
    out: str = "model.wl"
    """The artifact."""
    weight_format: str = ""
    """Storage of the matrices: f32, bf16, f16, int8 … int2, t2, t5, binary (docs/formats.md); that of the folder, bit
    for bit, or the codes of the GGUF file, when empty."""
    kv_format: Literal["", "f32", "bf16", "int8"] = ""
    """Storage of the key/value cache: f32, bf16 or int8; when empty f32 for weights in f32 or f16, else bf16."""
    context: int = 0
    """Longest context, in tokens; 0: the model's own, or as long as its cache fits the memory of a program."""
    tokenizer: str = ""
    """Another tokenizer (a file or folder) than the folder's own; none: the model knows ids and no text."""
    json: bool = False
    """Print JSON instead of sentences."""


@dataclass(frozen=True)
class Export:
    """Write an artifact in a form that others read: gpt2, llama, qwen3, and dense where it is one of them."""

    artifact: Annotated[str, tyro.conf.Positional]
    """A packed model (.wl)."""
    to: Literal["hf", "gguf", "mlx"] = "hf"
    """The form: hf, a folder with config.json, model.safetensors and tokenizer.json, which transformers loads; gguf,
    one file for llama.cpp; mlx, such a folder with codes as MLX has them, which mlx-lm loads (llama and qwen3)."""
    out: str = ""
    """The folder, which holds no model yet, or the GGUF file; the artifact's name without its ending, or with .gguf,
    when empty."""
    type: Literal["auto", "f32", "f16", "bf16", "q8_0", "q4_0", "q2_0", "tq2_0"] = "auto"
    """Of the matrices in a GGUF file; auto: of each the smallest type that holds it exactly."""
    tokenizer: str = ""
    """For a GGUF file of a model without a tokenizer: a file with that of its ids (.model, tokenizer.json); none: the
    file knows ids and no text."""


def main(verb: str, arguments: list[str]) -> int:
    if verb == "import":
        return _import(parse(Import, verb, arguments))
    return _export(parse(Export, verb, arguments))


def _import(options: Import) -> int:
    from weightless.export.from_folder import import_folder
    from weightless.export.from_gguf import import_gguf
    from weightless.export.hub_folder import is_on_hub, model_of
    from weightless.program.cost import n_parameters, touched_by_formula

    folder, out, source = Path(options.folder), Path(options.out), {}
    formats = (options.weight_format, options.kv_format, options.context, options.tokenizer)
    if is_on_hub(options.folder):
        found = model_of(options.folder, options.tokenizer)
        folder, source = found.folder, {"repository": found.repository, "commit": found.commit}
    elif not (folder.is_dir() or folder.is_file()):
        raise WeightlessError(
            f"{folder} is no folder: name one with config.json and model.safetensors, hub:OWNER/NAME, or a GGUF file"
        )
    if folder.is_file():
        made = import_gguf(folder, out, *formats)
    else:
        made = import_folder(folder, out, *formats, source=source)
    found = {
        "artifact": str(out),
        "family": made.family,
        "parameters": n_parameters(made.program),
        "weight_format": made.config.weight_format,
        "plan": made.config.plan,
        "kv_format": made.config.kv_format,
        "context": made.config.context,
        "bytes_per_token": touched_by_formula(made.program).T.mean,
        "file_bytes": out.stat().st_size,
        "sha256": sha256_file(out),
        "notes": list(made.notes),
        **source,
    }
    if options.json:
        print(json.dumps(found))
        return 0
    for note in made.notes:
        print(note, file=sys.stderr)
    print(
        f"{out}: {made.family}, {found['parameters']:,} parameters in {found['weight_format']}, cache in "
        f"{found['kv_format']}, context {found['context']}, {human_bytes(found['bytes_per_token'])} touched per token"
    )
    print(f"{human_bytes(found['file_bytes'])}, SHA-256 {found['sha256']}")
    return 0


def _export(options: Export) -> int:
    from weightless.export.packed import open_packed
    from weightless.export.to_folder import export_folder
    from weightless.export.to_mlx import export_mlx

    artifact = Path(options.artifact)
    if options.artifact.startswith("hf://") and not options.out:
        raise ConfigError(f"{options.artifact} has no folder of this machine: say where to write with --out")
    if options.to == "gguf":
        return _export_gguf(options, artifact)
    folder = Path(options.out) if options.out else artifact.with_suffix("")
    if folder.exists() and not folder.is_dir():
        raise WeightlessError(f"{folder} is no folder: name another with --out")
    packed = open_packed(artifact)
    architecture = (export_mlx if options.to == "mlx" else export_folder)(packed, folder)
    _tell_activations(packed)
    print(f"{folder}: {architecture}, {human_bytes((folder / 'model.safetensors').stat().st_size)} of weights")
    return 0


def _export_gguf(options: Export, artifact: Path) -> int:
    from weightless.export.packed import open_packed
    from weightless.export.to_gguf import export_gguf

    out = Path(options.out) if options.out else artifact.with_suffix(".gguf")
    if out.is_dir():
        raise WeightlessError(f"{out} is a folder: name a file with --out")
    packed = open_packed(artifact)
    made = export_gguf(packed, out, options.type, options.tokenizer, show_progress=True)
    for note in made.notes:
        print(note, file=sys.stderr)
    _tell_activations(packed)
    types = ", ".join(f"{n} tensors in {name}" for name, n in made.types.items())
    print(f"{out}: {made.architecture}, {types}; {human_bytes(out.stat().st_size)}")
    return 0


def _tell_activations(packed: Packed) -> None:
    """What no other program's form can say."""
    config = packed.artifact.meta.get("config")
    fmt = config.get("activation_format", "f32") if isinstance(config, dict) else "f32"
    if fmt != "f32":
        told = f"activations are rounded to {fmt} here (activation_format), and other programs are not told"
        print(f"{told}: they take them as they do, so numbers differ a little", file=sys.stderr)
