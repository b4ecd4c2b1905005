"""What is damaged: one small specimen of everything the program reads, and what opening each of them gives.

    shelf(folder) -> list[Specimen]      made by the program itself (chaos_shelf.py)

A probe opens a specimen as its users do and returns plain values; the same values mean that nothing changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from chaos_mutations import (
    damaged,
    forged_artifact,
    forged_safetensors,
    forged_tokenizer,
    odd_json,
    odd_toml,
)
from chaos_shelf import END, MODELS, TRAIN, make_shelf, run_verb

SMALL = 1 << 22
SOME_TEXT = f"Once upon a time, the fox said: »No«.\n\n  12 {END} x\t日本 \x00é".encode()
Way = Callable[..., tuple[str, bytes]]


class BrokenPromise(AssertionError):
    """Something opened and then contradicted itself."""


@dataclass(frozen=True)
class Specimen:
    """A pristine folder, the files in it that are damaged and how, and what opening the folder gives.

    `sealed` files carry checksums that must notice every accident.  `repair` makes the checksums of other files fit.
    `verbs` are command lines over the folder ("@" stands for it) that must end with 0, or with 2 and one line.
    """

    kind: str
    folder: Path
    victims: dict[str, tuple[Way, ...]]
    probe: Callable[[Path], Any]
    sealed: frozenset[str] = frozenset()
    repair: Callable[[Path, str], None] | None = None
    verbs: tuple[tuple[str, ...], ...] = ()
    weight: float = 1.0


def shelf(folder: Path) -> list[Specimen]:
    """Make every specimen under `folder`, or find those that an earlier call made there."""
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        make_shelf(folder)
        (folder / "done").touch()
    specimens = [_artifact(folder, name) for name in MODELS]
    return [
        *specimens,
        *_tokenizers(folder),
        _corpus(folder),
        _training(folder),
        *_texts(folder),
        *_imports(folder),
        _recipe(folder),
        _run(folder),
    ]


def _artifact(folder: Path, name: str) -> Specimen:
    model = "@/model.wl"
    verbs = (
        ("count", model),
        ("count", model, "--verify"),
        ("generate", model, "--prompt", "Once", "--max_tokens", "3"),
        ("eval", model, "--text", str(folder / "text/fables.txt"), "--tokens", "40", "--threads", "1"),
    )
    victims: dict[str, tuple[Way, ...]] = {"model.wl": (damaged, forged_artifact)}
    return Specimen(
        f"artifact {name}",
        folder / f"artifact-{name}",
        victims,
        lambda at: probe_artifact(at / "model.wl"),
        frozenset(victims),
        verbs=verbs,
        weight=3,
    )


def probe_artifact(path: Path) -> Any:
    """Everything a user gets: what it says, its words, and every verb of the engine over four tokens."""
    from weightless.base.errors import ConfigError, CorruptFileError
    from weightless.export.packed import open_packed

    packed = open_packed(path)
    facts: list[Any] = [packed.artifact.meta, packed.stored_bytes(), packed.stored_components()]
    if packed.has_tokenizer:
        facts += [packed.tokenizer.sha256, probe_words(packed.tokenizer)]
    program = packed.program
    if program.layout.state_bytes > SMALL:
        return facts
    with np.errstate(all="ignore"):
        engine = packed.engine()
        try:
            for token in [1, program.vocab_size - 1, 0, 2][: program.context - 1]:
                engine.feed(token % program.vocab_size)
                facts += [engine.score(1), engine.sample(np.full(8, 0.7)), engine.distribution().tobytes().hex()]
        except (CorruptFileError, ConfigError) as error:
            facts.append(str(error))
            one_line(str(error))
    return facts


def probe_words(tokenizer: Any) -> Any:
    """Ids and bytes of some text; a byte-level tokenizer must give every byte back."""
    from weightless.tokenizer import Tokenizer

    ids = tokenizer.encode_ordinary_array(SOME_TEXT)
    if isinstance(tokenizer, Tokenizer) and tokenizer.decode_bytes(ids) != SOME_TEXT:
        raise BrokenPromise("decode(encode(text)) is another text")
    if len(ids) and int(ids.max()) >= tokenizer.vocab_size:
        raise BrokenPromise("an id outside the vocabulary")
    return (
        ids.tolist(),
        tokenizer.decode_bytes(list(range(min(400, tokenizer.vocab_size)))).hex(),
        tokenizer.end_of_text,
    )


def one_line(message: str) -> None:
    """A message for users is one line of bounded length that a terminal can show."""
    if "\n" in message or len(message) > 1500 or not message.strip():
        raise BrokenPromise(
            f"a message of {len(message)} characters, {message.count(chr(10)) + 1} lines: {message[:80]!r}"
        )


def _tokenizers(folder: Path) -> list[Specimen]:
    from weightless.tokenizer.opening import open_tokenizer

    def probe(at: Path) -> Any:
        found = open_tokenizer(next(iter(at.iterdir())) if (at / "ranks.tiktoken").exists() else at)
        return found.sha256, probe_words(found)

    ways = {
        "weightless": {"tokenizer.json": (damaged, odd_json, forged_tokenizer, forged_tokenizer)},
        "huggingface": {"tokenizer.json": (damaged, odd_json, odd_json)},
        "gpt2": {"vocab.json": (damaged, odd_json, odd_json), "merges.txt": (damaged,)},
        "tiktoken": {"ranks.tiktoken": (damaged,)},
        "sentencepiece": {"tokenizer.model": (damaged,)},
    }
    return [
        Specimen(
            f"tokenizer {name}",
            folder / f"tokenizer-{name}",
            victims,
            probe,
            frozenset(["tokenizer.json"] if name == "weightless" else []),
            weight=2,
            verbs=(
                ("tokenizer", "encode", "@", "Once upon"),
                ("tokenizer", "compare", "@", "--text", str(folder / "text/fables.txt")),
            ),
        )
        for name, victims in ways.items()
    ]


def _corpus(folder: Path) -> Specimen:
    shards = [f"data/{path.name}" for path in sorted((folder / "corpus/data").glob("*.bin"))]
    victims: dict[str, tuple[Way, ...]] = dict.fromkeys(shards, (damaged,))
    victims |= {"data/manifest.json": (damaged, odd_json, odd_json), "data/tokenizer.json": (damaged, forged_tokenizer)}
    artifact = str(folder / "artifact-ngram/model.wl")
    verbs = (
        ("data", "verify", "@/data"),
        ("data", "inspect", "@/data"),
        ("eval", artifact, "--data", "@/data", "--tokens", "40", "--threads", "1"),
    )
    return Specimen(
        "corpus",
        folder / "corpus",
        victims,
        probe_corpus,
        frozenset([*shards, "data/tokenizer.json"]),
        repaired_manifest,
        verbs,
        weight=3,
    )


def probe_corpus(at: Path) -> Any:
    """Tokens, counts, documents and words of a prepared corpus."""
    from weightless.data.shards.corpus import corpus

    found = corpus(at / "data")
    facts: list[Any] = [found.vocab_size, found.end_of_text, found.sha256]
    for split in ("train", "val"):
        ids = np.asarray(found.tokens(split)[:])
        facts += [hashlib.sha256(ids.tobytes()).hexdigest(), found.n_bytes(split), found.n_documents(split)]
        if len(ids) != found.n_tokens(split) or (len(ids) and int(ids.max()) >= found.vocab_size):
            raise BrokenPromise(f"{split} has other tokens than it says")
    return facts, probe_words(found.tokenizer())


def repaired_manifest(folder: Path, victim: str) -> None:
    """Let the manifest name the damaged shard's own hash and length."""
    if not victim.endswith(".bin"):
        return
    path = folder / "data/manifest.json"
    manifest = json.loads(path.read_bytes())
    content = (folder / victim).read_bytes()
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            if shard["file"] == Path(victim).name:
                shard["sha256"] = hashlib.sha256(content).hexdigest()
    path.unlink()
    path.write_text(json.dumps(manifest))


def _training(folder: Path) -> Specimen:
    here = folder / "training"
    step = next((here / "model/checkpoint").glob("step_*")).name
    state, tensors = (f"model/checkpoint/{step}/{name}" for name in ("state.json", "tensors.safetensors"))
    victims = {
        state: (damaged, odd_json, odd_json),
        tensors: (damaged, forged_safetensors),
        "model/checkpoint/latest.json": (damaged, odd_json),
        "model/model.toml": (damaged, odd_toml, odd_toml),
    }

    def repair(at: Path, victim: str) -> None:
        if victim == tensors:
            values = json.loads((at / state).read_bytes())
            values["tensors_sha256"] = hashlib.sha256((at / tensors).read_bytes()).hexdigest()
            (at / state).unlink()
            (at / state).write_text(json.dumps(values))

    def probe(at: Path) -> Any:
        from weightless.lab.checkpoints import pack_checkpoint

        out = at / "out.wl"
        try:
            return probe_artifact(pack_checkpoint(at / "model", at / "data", out))
        finally:
            out.unlink(missing_ok=True)

    verbs = (("train", "dense", "--data", "@/data", "--out", "@/model", *TRAIN), ("count", "@/model"))
    return Specimen("checkpoint", here, victims, probe, frozenset([tensors]), repair, verbs, weight=2)


def _texts(folder: Path) -> list[Specimen]:
    from weightless.data.text.sources import open_source

    def probe(at: Path) -> Any:
        digest, n = hashlib.sha256(), 0
        for document in open_source(next(iter(at.iterdir()))):
            digest.update(len(document).to_bytes(8, "little") + document)
            n += 1
        return n, digest.hexdigest()

    names = ["x.txt", "x.jsonl", "x.jsonl.gz", "x.txt.xz", "x.jsonl.zst", "x.parquet"]
    ways: tuple[Way, ...] = (damaged,)
    return [
        Specimen(
            f"text {name}",
            folder / f"text-{name}",
            {name: ways},
            probe,
            frozenset([name] if name.endswith(("gz", "xz", "zst")) else []),
            weight=0.7,
        )
        for name in names
    ]


def _imports(folder: Path) -> list[Specimen]:
    tokenizer = str(folder / "run/data/tokenizer.json")

    def probe(at: Path) -> Any:
        out = at.parent / "imported"
        shutil.rmtree(out, ignore_errors=True)
        code, _, told = run_verb(["data", "import", str(at), str(out / "data"), "--tokenizer", tokenizer])
        refuse(code, told)
        return probe_corpus(out)

    def victims(name: str) -> dict[str, tuple[Way, ...]]:
        return {path.name: (damaged,) for path in sorted((folder / name).iterdir())}

    return [
        Specimen(name.replace("-", " "), folder / name, victims(name), probe, weight=0.7)
        for name in ("import-shards", "import-uint16", "import-parquet")
    ]


def refuse(code: int, told: str) -> None:
    """Raise what a verb's exit code and last line say, as the library would have raised it."""
    from weightless.base.errors import WeightlessError

    if code == 0:
        return
    lines = [line for line in told.splitlines() if line.startswith("weightless ")]
    if code != 2 or len(lines) != 1:
        raise BrokenPromise(f"exit {code}, told {told[-300:]!r}")
    raise WeightlessError(lines[0])


def is_told(arguments: Sequence[str], code: int, shown: str) -> bool:
    """Whether a verb that checks has found something: it prints what, and ends with 2."""
    return code == 2 and bool(shown.strip()) and (arguments[:2] == ["data", "verify"] or "--verify" in arguments)


def _recipe(folder: Path) -> Specimen:
    from weightless.base.config import to_dict
    from weightless.lab.recipe import load_recipe

    verbs = (("count", "@/chaos.toml"), ("run", "@/chaos.toml", "--out", str(folder / "run"), "--only", "nothing"))
    return Specimen(
        "recipe",
        folder / "recipe",
        {"chaos.toml": (damaged, odd_toml, odd_toml)},
        lambda at: to_dict(load_recipe(at / "chaos.toml")),
        verbs=verbs,
        weight=2,
    )


def _run(folder: Path) -> Specimen:
    here = folder / "run"
    names = [path.relative_to(here).as_posix() for path in sorted(here.rglob("*.json"))]
    victims: dict[str, tuple[Way, ...]] = {name: (damaged, odd_json, odd_json) for name in names if "data/" not in name}
    victims |= {"recipe.toml": (damaged, odd_toml), "sessions.jsonl": (damaged,)}
    victims |= {path.relative_to(here).as_posix(): (damaged,) for path in sorted(here.rglob("metrics.*"))}

    def probe(at: Path) -> Any:
        refuse(*run_verb(["report", str(at)])[::2])
        return (at / "summary.json").read_text()

    return Specimen("run folder", here, victims, probe, weight=0.15)
