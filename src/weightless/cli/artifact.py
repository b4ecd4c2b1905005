"""weightless eval: the held-out loss of an artifact."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.units import human_bytes
from weightless.cli.parse import parse

if TYPE_CHECKING:
    import numpy as np

    from weightless.data.shards.corpus import Corpus
    from weightless.evals.adaptive import Adapted
    from weightless.evals.bits_per_byte import Score
    from weightless.export.packed import Packed


@dataclass(frozen=True)
class Eval:
    """Held-out loss of an artifact: nats per token and bits per byte, every target once."""

    artifact: Annotated[str, tyro.conf.Positional] = ""
    """A packed model (.wl), as train, run and pack leave it; the newest one under runs/ when empty."""
    data: str = ""
    """A prepared corpus; the run's own is found beside the artifact when empty."""
    text: str = ""
    """Score this text file instead (each document after <|endoftext|>)."""
    split: str = "val"
    """The part of the corpus: val or train."""
    tokens: int | None = None
    """Score about so many tokens, in windows spread evenly over the text; 0 means all.  When empty: as many as the
    recipe says of the run that the artifact lies in, else all."""
    sentencepiece: str = ""
    """The .model file behind imported ids (Parameter Golf's, for example): bits per byte by its pieces."""
    stride: int | None = None
    """Windows start every so many tokens and score only their last part; 0 means side by side.  When empty: as the
    run's recipe says, else side by side."""
    stretch: int | None = None
    """With --tokens, choose them in stretches of so many side by side, so that models of different contexts are asked
    for the same; 0 means the context.  When empty: as the run's recipe says."""
    whole_windows: bool = False
    """Cut the text to a whole number of windows of the model's context, as Parameter Golf does, and say what went."""
    threads: int = 0
    """Threads that share the windows; 0 means all cores."""
    path: str = "auto"
    """How to score: stepped (the engine, token after token), blocked (many positions per weight read, the same nats),
    auto (blocked where that is so), or batched (many windows at once, in PyTorch; the engine looks over a sample)."""
    batch: int = 0
    """With --path batched: windows at once; 0: as many as suit the memory."""
    device: str = "cpu"
    """With --path batched: where PyTorch computes, cpu, cuda, cuda:1 or mps."""
    autocast: str = "none"
    """With --path batched: products of the matrices in float32 (none), or in bf16, which moves single targets by some
    hundredths of a nat."""
    compile: bool = False
    """With --path batched: let torch.compile make the layers, which takes minutes first; for texts of millions."""
    resume: str = ""
    """With --path batched: a file in which a long scoring is kept while it goes on; killed, the same command goes on
    from there.  It goes when all is scored."""
    adaptive: bool = False
    """Besides, score the text while the model goes on counting: every token first scored, then learned (family
    countmix, one core; with --tokens the beginning of the text).  A line of its own, beside the frozen loss."""
    json: bool = False
    """Print JSON instead of a sentence."""


def main(verb: str, arguments: list[str]) -> int:
    return _eval(parse(Eval, verb, arguments))


def find_data(start: Path) -> Path:
    """The prepared corpus nearest to a model: data/ in one of the folders above it."""
    for folder in start.resolve().parents:
        if (folder / "data" / "manifest.json").exists():
            return folder / "data"
    raise WeightlessError(f"no prepared corpus lies beside {start}: name one with --data")


def newest_model(runs: Path = Path("runs")) -> Path:
    """The packed model that was written last; WeightlessError when there is none."""
    found = sorted(runs.rglob("*.wl"), key=lambda path: path.stat().st_mtime) if runs.is_dir() else []
    if not found:
        raise WeightlessError(
            f"no model (.wl) lies under {runs.resolve()}: name the one to score, weightless eval MODEL.wl"
        )
    return found[-1]


def corpus_of(artifact: Path) -> Corpus:
    """The corpus that the model was trained with, as training recorded it, or that of the run it lies in."""
    from weightless.data.shards.corpus import corpus
    from weightless.lab.trained import trained_on

    record = trained_on(artifact.parent)
    return record.corpus() if record is not None else corpus(find_data(artifact))


def _warn_of_learned_text(artifact: Path, named: Corpus | None) -> None:
    """A corpus of the training's text that is split otherwise holds out what the model may have learned."""
    from weightless.lab.trained import trained_on

    record = trained_on(artifact.parent)
    if record is not None and named is not None and record.parted_otherwise(named):
        print(
            f"WARNING: {named.folder} holds the text that {artifact} was trained on, split otherwise: what validates "
            "there may have been learned, and a loss on it says little",
            file=sys.stderr,
        )


def _eval(options: Eval) -> int:
    from weightless.data.shards.corpus import corpus
    from weightless.data.text.split import overlap_warning
    from weightless.evals.adaptive import check_no_stride, evaluate_adaptive
    from weightless.evals.bits_per_byte import evaluate
    from weightless.evals.scoring import check_path
    from weightless.export.adapting import refuse_other_families
    from weightless.export.packed import open_packed

    check_path(options.path)
    batching = _batching(options)
    asked = {name: getattr(options, name) or 0 for name in ("tokens", "stride", "stretch")}
    if min(asked.values()) < 0:
        told = ", ".join(f"--{name} {value}" for name, value in asked.items())
        raise ConfigError(f"{told}: at least 0, which means all targets and windows side by side")
    if not options.artifact:
        options = dataclasses.replace(options, artifact=newest_model().as_posix())
        print(f"newest model: {options.artifact}", file=sys.stderr)
    packed = open_packed(options.artifact)
    if (options.stride or 0) > (context := packed.program.context):
        raise ConfigError(f"--stride {options.stride} is larger than the model's context of {context}")
    if options.adaptive:
        refuse_other_families(packed)
        check_no_stride(options.stride, context)
    artifact = Path(packed.artifact.path)
    found = None if options.text else corpus(options.data) if options.data else corpus_of(artifact)
    _warn_of_learned_text(artifact, found if options.data and options.split == "val" else None)
    options, by_recipe = _as_the_run(options, found)
    tokens, of_text = _text_tokens(options, packed) if found is None else (_corpus_tokens(options, packed, found), "")
    tokens = _cut(tokens, context) if options.whole_windows else tokens
    pieces, silent = _pieces(options, packed, found)
    refused = _why_refused(options, found, pieces, tokens) or of_text
    if found is not None and options.split == "val" and (doubt := overlap_warning(found.manifest)):
        print(f"{found.name}: WARNING: {doubt}", file=sys.stderr)
    result = evaluate(
        packed,
        tokens,
        pieces,
        silent,
        options.stride or None,
        options.tokens or 0,
        options.threads or None,
        refused=refused,
        stretch=options.stretch or 0,
        path=options.path,
        batching=batching,
    )
    adapted = (
        evaluate_adaptive(packed, tokens, None if refused else pieces, silent, options.tokens or 0)
        if options.adaptive
        else None
    )
    if options.json:
        beside = {"adaptive": adapted.to_plain()} if adapted else {}
        print(json.dumps({"artifact": options.artifact, **result.to_plain(), **beside}))
        return 0
    _print_score(result, len(tokens) - 1, by_recipe, refused)
    if adapted:
        _print_adapted(adapted)
    return 0


def _batching(options: Eval) -> Any:
    """How batches are made, checked; None for the other paths, which leave PyTorch alone."""
    if options.path != "batched":
        return None
    from weightless.evals.batched import Batching

    batching = Batching(options.batch, options.device, options.autocast, options.compile, options.resume)
    batching.check()
    return batching


def _cut(tokens: Any, context: int) -> Any:
    """The tokens of whole windows; how many were cut off is told."""
    from weightless.evals.bits_per_byte import whole_windows

    kept = whole_windows(tokens, context)
    n_cut = len(tokens) - len(kept)
    print(
        f"whole windows: {len(kept) - 1:,} of {len(tokens) - 1:,} targets are left, {n_cut:,} at the end are cut off",
        file=sys.stderr,
    )
    return kept


def _print_score(result: Score, all_targets: int, by_recipe: str, refused: str) -> None:
    """The loss, and of how much of the text it is."""
    unknown = f"refused: {refused}" if refused else "unknown (the data was imported without a tokenizer)"
    in_bytes = f"{result.bits_per_byte:.4f} bits per byte" if result.knows_bytes else f"bits per byte {unknown}"
    print(f"{result.nats_per_token:.4f} nats per token, {in_bytes}")
    part = (
        f"{result.n_tokens:,} of {all_targets:,} targets"
        if result.n_tokens < all_targets
        else f"all {all_targets:,} targets"
    )
    of_text = f", {result.n_bytes:,} bytes" if result.knows_bytes else ""
    speed = f"{result.tokens_per_second:,.0f} tokens/s"
    if result.path == "blocked":
        speed += f" in blocks ({result.decoded_per_second:,.0f} decoded one after the other)"
    if result.path == "batched":
        speed += f" in batches ({result.decoded_per_second:,.0f} decoded one after the other)"
    print(f"{part}{by_recipe}{of_text}, {speed}")
    if result.path == "batched":
        print(f"checked: {result.checked}")


def _print_adapted(adapted: Adapted) -> None:
    """What adapting gives, and what it costs."""
    in_bytes = "" if adapted.bits_per_byte is None else f", {adapted.bits_per_byte:.4f} bits per byte"
    read, learned, written = adapted.spent
    print(
        f"adaptive (scored, then learned): {adapted.nats_per_token:.4f} nats per token{in_bytes}, "
        f"the first {adapted.n_tokens:,} targets, {adapted.tokens_per_second:,.0f} tokens/s\n"
        f"  per token {read:,.0f} B read to score, {learned:,.0f} B read to learn, {written:,.0f} B written; "
        f"{human_bytes(adapted.state_bytes)} kept beside the model"
    )


def _as_the_run(options: Eval, found: Corpus | None) -> tuple[Eval, str]:
    """The options with --tokens, --stride and --stretch filled in, and the words that tell if a recipe did it."""
    from weightless.lab.recipe import EvalRecipe, recipe_of_run

    own = found is not None and not options.data and options.split == "val"
    own = own and found is not None and found.folder.resolve().parent in Path(options.artifact).resolve().parents
    run = recipe_of_run(found.folder) if own and found is not None else None
    recipe = run.evaluation if run else EvalRecipe()
    tokens = recipe.tokens if options.tokens is None else options.tokens
    stride = recipe.stride if options.stride is None else options.stride
    stretch = recipe.stretch if options.stretch is None else options.stretch
    told = run and None in (options.tokens, options.stride) and recipe != EvalRecipe()
    by_recipe = " as the run's recipe says (--tokens 0 --stride 0: all, side by side)" if told else ""
    return dataclasses.replace(options, tokens=tokens, stride=stride, stretch=stretch), by_recipe


def _pieces(options: Eval, packed: Any, found: Corpus | None) -> tuple[Any, list[int]]:
    """What tells the bytes of ids, and which ids stand for none; (None, []) where nobody knows the text."""
    if options.sentencepiece:
        return _piece_table(options, packed), []
    if packed.has_tokenizer:
        return packed.tokenizer.token_bytes, list(packed.tokenizer.special_tokens.values())
    if found is not None and found.has_tokenizer:  # then it is a SentencePiece model: artifacts hold any other
        return found.tokenizer().byte_table, []  # type: ignore[union-attr]
    return None, []


def _why_refused(options: Eval, found: Corpus | None, pieces: Any, tokens: Any) -> str:
    """Why bits per byte would not be those of a text: what preparing found, or what the ids of a named model show."""
    if options.sentencepiece:
        if why := pieces.why_refused(tokens[:]):
            raise WeightlessError(
                f"--sentencepiece {options.sentencepiece}: bits per byte are refused: {why}; "
                "leave it out for nats per token"
            )
        return ""
    return found.why_refused(options.split) if found is not None else ""


def _piece_table(options: Eval, packed: Any) -> Any:
    """Bytes of the ids of a SentencePiece model, for an artifact that has no tokenizer of its own."""
    from weightless.base.files import sha256_file
    from weightless.tokenizer.sentencepiece import byte_table

    table = byte_table(options.sentencepiece)
    other = packed.tokenizer_sha256 not in (None, sha256_file(options.sentencepiece))
    if other and not packed.has_tokenizer:
        raise WeightlessError(
            f"{options.artifact} was trained on ids of another SentencePiece model than {options.sentencepiece}"
        )
    if packed.has_tokenizer or len(table.base) > packed.program.vocab_size:
        own = "a tokenizer of its own" if packed.has_tokenizer else f"a vocabulary of {packed.program.vocab_size}"
        raise WeightlessError(
            f"{options.artifact} has {own}, {options.sentencepiece} holds {len(table.base)} pieces: "
            "the ids were not made with it"
        )
    return table


def _text_tokens(options: Eval, packed: Packed) -> tuple[np.ndarray, str]:
    """Its tokens, and why bits per byte of them are refused; that the tokenizer changes the text is told."""
    from weightless.data.text.sources import open_source
    from weightless.evals.text_tokens import text_tokens

    found = text_tokens(packed, open_source(options.text))
    whole = found.kept
    if whole.n_rewritten and not whole.refused:
        print(
            f"{options.text}: the tokenizer composes characters (NFC) in {whole.n_rewritten:,} documents; bits per "
            f"byte are per byte of the composed text, {whole.decoded_bytes:,} of {whole.source_bytes:,} bytes",
            file=sys.stderr,
        )
    return found.ids, whole.refused


def _corpus_tokens(options: Eval, packed: Packed, found: Corpus) -> Any:
    """The split, if the model's ids are the corpus's: by the tokenizer, or by their number where nobody knows it."""
    ours, theirs = packed.tokenizer_sha256, found.manifest["tokenizer_sha256"]
    if (ours and theirs and ours != theirs) or (packed.has_tokenizer and not theirs):
        raise WeightlessError(
            f"{found.folder} was tokenised with another tokenizer than that of {options.artifact}: "
            "prepare the data with the model's tokenizer, or score a text with --text"
        )
    if found.vocab_size != packed.program.vocab_size or (theirs and not ours and found.tokenizer_json()):
        raise WeightlessError(
            f"{found.folder} has {found.vocab_size} tokens, of another tokenizer than the "
            f"{packed.program.vocab_size} of {options.artifact}: name the data it was trained "
            "on"
        )
    return found.tokens(options.split)
