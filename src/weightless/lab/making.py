"""Make one model of a recipe: train it, count it, or do both and mix them.  What comes out is ready to pack.

A family of kind Trained is trained, or has the numbers of a model that was, in other formats (`rounded_from`); one of
kind Counted is counted.  A Composed one is a mixture: its neural part is trained and its counted part counted on all
but the last training tokens; the weights are fitted on those, by the compiled engine that runs the packed parts; then
the table is counted again from all the training tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.files import read_json
from weightless.base.progress import progress, told_if_slow
from weightless.base.saved_work import SavedWork
from weightless.countmix.counting import Beside
from weightless.data.shards.corpus import Corpus
from weightless.export.clipped import clipped_rows
from weightless.export.lower import pack
from weightless.export.packed import Packed, open_packed
from weightless.lab.beside import Speaker
from weightless.lab.checkpoints import CHECKPOINT, calibrated, clipped, load_model_file
from weightless.lab.recipe import ModelRecipe
from weightless.lab.taking import distil_of, named_by
from weightless.lab.training import train_model
from weightless.models import catalog
from weightless.models.catalog import Composed, Counted, family
from weightless.ops.window_cache import CLASSES
from weightless.ops.window_weights import fit_on, held_out_from, side_by_side
from weightless.program.cached import CACHE_WEIGHTS
from weightless.program.compose import COUNTED, GATE, NEURAL, WEIGHTS, prefixed
from weightless.program.cost import n_parameters
from weightless.program.program import OUTCOME
from weightless.program.warm import warm
from weightless.train.clock import CLOCKS

Clock = Callable[[], float]
ALONE: Clock = CLOCKS["cpu"]
"""What is only counted is timed by: one process counts, on one core, and others do not lengthen its seconds.  What is
counted beside a trained part is timed by the clock of that part's training, because their seconds are added."""
FITTING, TRAINING = "fitting.wl", "training.json"
COUNTING, COUNTING_FIRST = "counting.part", "counting-first.part"
"""What a long count is saved in: of all training tokens, and of those that weights are not fitted on."""
HELD_OUT_TOKENS, HELD_OUT_SHARE = 32_768, 0.1
CACHE_FITTED = "weights of the window cache"
WARM_UP_TOKENS = 256
FLOOR_NATS = 2e-3
"""What the least weight that a part can have may cost: -ln(1 - 0.001), and some."""


@dataclass(frozen=True)
class Made:
    """What training or counting left, ready to pack unless its record says that it `diverged`."""

    config: Any
    arrays: dict[str, Any]
    record: dict[str, Any]


def make(model: ModelRecipe, seed: int, corpus: Corpus, folder: Path, label: str, arms: Collection[str] = ()) -> Made:
    """Train, count or mix one model on the corpus, or on as much of it as the recipe says, whose models are `arms`."""
    config, room, tokens = model.check(corpus.vocab_size, seed), family(model.family), training_tokens(model, corpus)
    if model.rounded_from:
        made = rounded(config, model, corpus, folder)
    elif isinstance(room, Composed):
        made = mixed(room, config, model, seed, corpus, tokens, folder, label)
    elif isinstance(room, Counted):
        made = counted(room, config, tokens, bytes_of_tokens(room, corpus), folder / COUNTING)
        if config.window_cache:
            made = with_fitted_cache(made, room, config, model, corpus, tokens, folder)
    else:
        made = trained(model.family, config, model, seed, corpus, tokens, folder, label, arms)
    return Made(made.config, made.arrays, {**made.record, "train_tokens": len(tokens)})


def training_tokens(model: ModelRecipe, corpus: Corpus) -> Any:
    """The training tokens, or the first so many of them."""
    tokens = corpus.tokens("train")
    if not model.train_tokens:
        return tokens
    (wanted,) = model.train_tokens
    if wanted > len(tokens):
        raise ConfigError(
            f"model {model.name!r} wants {wanted:,} training tokens, but the corpus has {len(tokens):,}: "
            "lower train_tokens, or take a larger text"
        )
    return tokens[:wanted]


def counted(
    room: Any,
    config: Any,
    tokens: Any,
    token_bytes: list[bytes] | None = None,
    saved_in: Path | None = None,
    beside: Beside | None = None,
    now: Clock = ALONE,
) -> Made:
    """A table of counts, timed by `now` after the same was done to a few tokens, which compiles what has to be.

    A family that counts for minutes is saved in `saved_in` meanwhile, until `forget_counted`; one with mixers may hear
    a trained model `beside`.
    """
    stream = tokens if room.is_saved else np.asarray(tokens[:])
    text = {} if token_bytes is None else {"token_bytes": token_bytes}
    repeating = np.tile(
        np.asarray(stream[: WARM_UP_TOKENS // 2]), 2
    )  # so that counts reach 2; a table that wants more asks for text
    with told_if_slow("compiling what counts (once per machine and version)"), suppress(ConfigError):
        room.count(config, repeating, **text)
    saved, started = SavedWork(saved_in, clock=now) if room.is_saved and saved_in else None, now()
    config, arrays = room.count(config, stream, show_progress=True, saved=saved, beside=beside, **text)
    earlier = saved.seconds if saved else 0.0
    record = {
        "tokens_seen": len(stream),
        "train_seconds": earlier + now() - started,
        "optimizer_bytes": 0,
        "wasted_share": 0.0,
        "n_parameters": n_parameters(room.decode_program(config)),
        "curve": None,
        "observed": {},
        "steps": 0,
    }
    return Made(config, arrays, record)


def forget_counted(folder: Path) -> None:
    """What was counted is packed."""
    for name in (COUNTING, COUNTING_FIRST):
        SavedWork(folder / name).forget()


def with_fitted_cache(
    made: Made, room: Counted, config: Any, model: ModelRecipe, corpus: Corpus, tokens: Any, folder: Path
) -> Made:
    """The weights of its window cache, fitted on the last training tokens by a table that was counted without them."""
    started = ALONE()
    earlier, held_out = divided(model, HELD_OUT_TOKENS, tokens, corpus.end_of_text)
    text = bytes_of_tokens(room, corpus)
    stream, saved = (earlier, SavedWork(folder / COUNTING_FIRST)) if room.is_saved else (np.asarray(earlier[:]), None)
    table = room.count(dataclasses.replace(config, window_cache=0), stream, token_bytes=text, saved=saved)
    pack(folder / FITTING, model.family, *table)
    windows = side_by_side(held_out, config.context)
    weights, told = fit_on(window_nats(open_packed(folder / FITTING), windows), windows, config.window_cache)
    (folder / FITTING).unlink()
    record = {**made.record, "observed": {**made.record["observed"], CACHE_FITTED: {"ok": True, "detail": told}}}
    record["train_seconds"] += ALONE() - started
    return Made(made.config, {**made.arrays, CACHE_WEIGHTS: weights}, record)


def window_nats(packed: Packed, windows: list[tuple[list[int], list[int]]]) -> np.ndarray:
    """Nats of every target of windows, each of which begins anew."""
    engine, found = packed.engine(), []
    with progress("fitting the window cache", sum(len(tokens) for tokens, _ in windows), "tokens") as tick:
        for tokens, targets in windows:
            engine.reset()
            found.append(engine.score_stream(np.array(tokens), np.array(targets)))
            tick(len(tokens))
    return np.concatenate(found)


def bytes_of_tokens(room: Counted, corpus: Corpus) -> list[bytes] | None:
    """The bytes behind every id, for a family that reads them; none behind special tokens.

    WeightlessError when nobody knows them.
    """
    if not room.reads_text:
        return None
    corpus.require_tokenizer("reading words off tokens")
    tokenizer = corpus.tokenizer()
    lengths = tokenizer.byte_table.base
    return [piece if n else b"" for piece, n in zip(tokenizer.token_bytes, lengths, strict=True)]


def trained(
    name: str,
    config: Any,
    model: ModelRecipe,
    seed: int,
    corpus: Corpus,
    tokens: Any,
    folder: Path,
    label: str,
    arms: Collection[str] = (),
) -> Made:
    """Weights, by the loop that all families share; goes on from a checkpoint in the folder."""
    loop = model.build_training(config, seed)
    if loop is None:
        raise ConfigError(f"model {model.name!r}: family {model.family!r} is counted, not trained")
    taken = taken_by(model, corpus, loop.context, folder, arms)
    result = train_model(name, config, loop, corpus, folder, label, tokens, lineage=taken)
    arrays = {key: tensor.cpu().numpy() for key, tensor in result.params.items()} | dict(result.constants)
    arrays |= clipped_rows(catalog.trained(name).Model(config).tensors(), arrays, result.clips)
    record = {
        "tokens_seen": result.tokens_seen,
        "wasted_share": result.wasted_share,
        "steps": result.steps,
        "train_seconds": result.seconds,
        "clock": loop.clock,
        "optimizer_bytes": result.optimizer_bytes,
        "n_parameters": int(sum(tensor.numel() for tensor in result.params.values())) + config.window_cache * CLASSES,
        "curve": result.curve,
        "observed": result.observed,
        "used": result.used,
        **({"teacher": result.teacher} if result.teacher else {}),
    }
    if result.diverged is not None:
        record["diverged"] = {**result.diverged.to_plain(), "detail": result.diverged.detail}
    return Made(config, arrays, record)


def taken_by(model: ModelRecipe, corpus: Corpus, context: int, folder: Path, arms: Collection[str]) -> Any:
    """What the model of `folder` takes from others (a Lineage, None for nothing).

    WeightlessError when one of the recipe's own is not made.
    """
    if not named_by(model):
        return None
    from weightless.lab.lineage import ANSWERS, lineage

    def place(name: str) -> str:
        return str(made_before(name, model, folder)) if name in arms else name

    distil = distil_of(model)
    if distil is not None:
        distil = dataclasses.replace(distil, teacher=place(distil.teacher))
    init_from = place(model.init_from) if model.init_from else ""
    return lineage(distil, init_from, corpus, context, folder.with_name(ANSWERS))


def made_before(name: str, model: ModelRecipe, folder: Path) -> Path:
    """The folder of another model of the recipe, of the same seed as that of `folder`; WeightlessError unless made."""
    source = folder.with_name(name + folder.name.removeprefix(model.name))
    if not (source / "done.json").exists():
        raise WeightlessError(
            f"{source} is not made yet, and {folder.name} is made from it: make both (--only {name} {model.name})"
        )
    if not (source / "model.wl").exists():
        raise WeightlessError(f"{source.name} diverged: there is nothing to make {folder.name} from")
    return source


def rounded(config: Any, model: ModelRecipe, corpus: Corpus, folder: Path) -> Made:
    """The numbers of another model of the run, of the same seed, for other formats; WeightlessError if it has none."""
    from weightless.train.checkpoint import load_checkpoint

    source = folder.with_name(model.rounded_from + folder.name.removeprefix(model.name))
    saved = load_checkpoint(source / CHECKPOINT) if (source / "done.json").exists() else None
    if saved is None:
        raise WeightlessError(
            f"{source} is not made yet, and {folder.name} is rounded from it: make both (--only {model.rounded_from} "
            f"{model.name})"
        )
    if "diverged" in saved.state:
        raise WeightlessError(f"{source.name} diverged: there is nothing to round {folder.name} from")
    record = read_json(source / TRAINING)
    now = CLOCKS[record.get("clock", "wall")]
    started = now()
    arrays: dict[str, Any] = {key: value.numpy() for key, value in {**saved.parameters, **saved.constants}.items()}
    told = f"the numbers of {source.name}, rounded to nearest"
    if model.gptq:
        arrays |= calibrated(model.family, config, arrays, corpus, model.gptq)
        told = f"the numbers of {source.name}, rounded by GPTQ over {model.gptq:,} training tokens"
    elif kept := clipped(model.family, load_model_file(source)[1], config, arrays, saved.optimizer):
        arrays |= kept
        told += f"; {len(kept)} that keep their format have the codes of their learned clips"
    record |= {"curve": None, "train_seconds": record["train_seconds"] + now() - started}
    return Made(config, arrays, {**record, "observed": {"rounded": {"ok": True, "detail": told}}})


def mixed(
    room: Any, config: Any, model: ModelRecipe, seed: int, corpus: Corpus, tokens: Any, folder: Path, label: str
) -> Made:
    """Both parts and the weights between them.  The learning curve is left out: it would be that of one part."""
    by_documents = corpus.end_of_text if config.window_cache else None
    (_, neural_config), (counted_room, counted_config) = (config.part(name) for name in (NEURAL, COUNTED))
    text = bytes_of_tokens(counted_room, corpus)
    if config.mixes:
        earlier, held_out = counted_room.mixes(counted_config, tokens, text), np.zeros(0, np.int64)
    else:
        earlier, held_out = divided(model, config.held_out, tokens, by_documents)
    (folder / NEURAL).mkdir(exist_ok=True)
    neural = trained(config.neural, neural_config, model, seed, corpus, earlier, folder / NEURAL, label)
    if "diverged" in neural.record:
        told = {**neural.record["diverged"], "detail": f"its neural part {neural.record['diverged']['detail']}"}
        return Made(config, {}, {**neural.record, "diverged": told})
    if config.mixes:
        return mixed_inside(room, config, neural, tokens, text, folder)
    now = CLOCKS[neural.record["clock"]]
    table = counted(counted_room, counted_config, earlier, text, folder / COUNTING_FIRST, now=now)
    warm({model.family: room.decode_program(config)})
    started = now()
    trial = room.compose(config, neural.arrays, table.config, table.arrays)
    pack(folder / FITTING, model.family, *trial)
    nats = part_nats(open_packed(folder / FITTING), held_out)
    weights = room.fit(*nats, len(trial[1][WEIGHTS]))
    (folder / FITTING).unlink()
    seconds = table.record["train_seconds"] + now() - started
    table = counted(counted_room, counted_config, tokens, text, folder / COUNTING, now=now)
    record = {**neural.record, "curve": None}
    record["train_seconds"] += seconds + table.record["train_seconds"]
    record["n_parameters"] += table.record["n_parameters"] + len(weights)
    record["observed"] = {**neural.record["observed"], "the mixture is no worse than its parts": gain(*nats, weights)}
    config, arrays = room.compose(config, neural.arrays, table.config, table.arrays, weights)
    if config.window_cache:
        windows = side_by_side(held_out, config.context)
        arrays[CACHE_WEIGHTS], told = fit_on(mixed_nats(*nats, weights), windows, config.window_cache)
        record["observed"][CACHE_FITTED] = {"ok": True, "detail": told}
        record["n_parameters"] += arrays[CACHE_WEIGHTS].size
    return Made(config, arrays, record)


def mixed_inside(room: Any, config: Any, neural: Made, tokens: Any, text: list[bytes] | None, folder: Path) -> Made:
    """The trained part as one more input of the counted one's mixers, which are tuned on what both have not seen."""
    counted_room, counted_config = config.part(COUNTED)
    pack(folder / FITTING, config.neural, neural.config, neural.arrays)
    speaker = Speaker(open_packed(folder / FITTING))
    now = CLOCKS[neural.record["clock"]]
    table = counted(counted_room, counted_config, tokens, text, folder / COUNTING, speaker.beside(), now)
    (folder / FITTING).unlink()
    config, arrays = room.compose(config, neural.arrays, table.config, table.arrays)
    record = {**neural.record, "curve": None}
    record["train_seconds"] += table.record["train_seconds"]
    record["n_parameters"] = n_parameters(room.decode_program(config))
    record["observed"] = {**neural.record["observed"], "the mixers gain by the trained part": speaker.told()}
    return Made(config, arrays, record)


def divided(model: ModelRecipe, held_out: int, tokens: Any, end_of_text: int | None = None) -> tuple[Any, np.ndarray]:
    """The training tokens: those that a table or the parts of a mixture learn from, and later ones, for weights: the
    last, or, where `end_of_text` is said, the first of the last documents (`held_out_from`)."""
    n_held = min(held_out, int(HELD_OUT_SHARE * len(tokens)))
    if n_held < 2:
        what = "mixture" if model.family == "mixture" else "window cache"
        raise ConfigError(f"model {model.name!r}: {len(tokens):,} training tokens leave none to fit the {what} on")
    first = held_out_from(tokens, n_held, end_of_text)
    return tokens[:first], np.asarray(tokens[first : first + n_held], dtype=np.int64)


def gain(neural: np.ndarray, counted: np.ndarray, gates: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """An assertion for the run record: nats per token of both parts and of the mixture, where it was fitted."""
    parts = [float(neural.mean()), float(counted.mean())]
    mixture = float(mixed_nats(neural, counted, gates, weights).mean())
    told = f"{mixture:.4f} nats per token of {len(gates):,}; neural {parts[0]:.4f}, counted {parts[1]:.4f}; "
    told += f"neural weight {weights.min():.3f} to {weights.max():.3f} in {len(weights)} classes"
    return {"ok": mixture <= min(parts) + FLOOR_NATS, "detail": told}


def mixed_nats(neural: np.ndarray, counted: np.ndarray, gates: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Nats of the mixture, from those of its parts."""
    w = weights[:, 0].astype(np.float64)[gates]
    return -np.log(w * np.exp(-neural) + (1 - w) * np.exp(-counted))


def part_nats(packed: Packed, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(nats of the neural part, nats of the counted part, class of the context) of every target but the first token.

    Windows of the model's context side by side, as held-out text is scored; the parts' results are read from the state
    that the compiled engine leaves.
    """
    engine, places = packed.engine(), packed.program.layout.places
    at = [places[name].offset // 4 for name in (prefixed(NEURAL, OUTCOME), prefixed(COUNTED, OUTCOME), GATE)]
    numbers, classes = engine.S.view(np.float32), engine.S.view(np.uint32)
    found = np.empty((len(tokens) - 1, 2), np.float64)
    gates = np.empty(len(tokens) - 1, np.int64)
    with progress("fitting the mixture", len(gates), "tokens") as tick:
        for i in range(len(gates)):
            if engine.position == packed.program.context:
                tick(engine.position)
                engine.reset()
            engine.feed(int(tokens[i]))
            engine.score(int(tokens[i + 1]))
            found[i], gates[i] = (numbers[at[0]], numbers[at[1]]), classes[at[2]]
    return found[:, 0], found[:, 1], gates
