"""weightless audit: is it a predictor, and are its bits per byte counted right?

    weightless audit MODEL.wl|RUN           packed models, through the shipped engine, on the run's held-out tokens
    weightless audit module:attribute       somebody's Python code, in a process of its own (path.py:attribute too)
    weightless audit MODEL.wl --ternary     is every weight -1, 0 or +1 times its scale?  (audit_ternary.py)

Exit code 0 when no check failed, 2 otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightless.base.errors import ConfigError, WeightlessError
from weightless.cli.parse import parse
from weightless.cli.tables import print_table

if TYPE_CHECKING:
    import numpy as np

    from weightless.audit.predictors.audit import Evidence, Report
    from weightless.data.shards.corpus import Corpus

ARTIFACT = "model.wl"
MOST_COMPARED = 20_000_000
"""Training tokens of the model's own corpus that are compared with its validation text without being asked."""


@dataclass(frozen=True)
class Audit:
    """Audit a predictor: causality, normalisation, score before update, single pass, byte counts, training data."""

    what: Annotated[str, tyro.conf.Positional]
    """An artifact, the folder of a run or model, or code: module:attribute or path.py:attribute, which offers
    log_probs(prefix) and perhaps score, byte_counts and scored_ranges."""
    data: str = ""
    """A prepared corpus, whose validation tokens are read; for a model of a run its own."""
    text: str = ""
    """Read this text (a file or folder) instead."""
    tokenizer: str = ""
    """The tokenizer of the text or of imported ids, when neither model nor corpus knows it; code without one reads
    bytes."""
    train: str = ""
    """The training text, or a prepared corpus: no validation document may be in it, or repeat it."""
    claim: str = ""
    """What an evaluation says of itself, as JSON: nats_per_token, bits_per_byte, eval_tokens, eval_bytes, ranges."""
    expect: tuple[str, ...] = ()
    """Published constants of the validation text: bytes=151080891, and targets, tokens or documents."""
    positions: int = 1000
    """Read about so many positions, in windows spread evenly over the text."""
    tolerance: float = 0.0
    """Nats within which repeated answers are the same; 0 asks for the same bits."""
    ternary: bool = False
    """Ask instead whether every weight is -1, 0 or +1 times its stored scale, from the bytes; with perplexities."""
    tensors: tuple[str, ...] = ()
    """With --ternary: patterns of the matrices that have to be, such as "block.*"; all when nothing is said."""
    twin: str = ""
    """With --ternary: the model in full precision, whose perplexity stands beside."""
    tokens: int = 16_384
    """With --ternary: about how many held-out targets are scored; 0: all."""
    adaptive: bool = False
    """Audit the model as it goes on counting while it is scored (family countmix)."""
    seed: int = 0
    """Draws the positions and tokens that the probes replace."""
    json: bool = False
    """Print JSON instead of the table of checks."""


def main(verb: str, arguments: list[str]) -> int:
    from weightless.audit.predictors.claims import read_expected

    options = parse(Audit, verb, arguments)
    if options.ternary:
        from weightless.cli.audit_ternary import audit_ternary

        return audit_ternary(options)
    if options.positions < 1 or not 0 <= options.tolerance < 1:
        raise ConfigError("--positions should be at least 1, and --tolerance in 0..1 nats")
    read_expected(options.expect)
    if options.data and options.text:
        raise ConfigError("--data and --text are two texts: give one of them")
    if options.adaptive and _is_code(options.what):
        raise ConfigError("--adaptive is for packed models of family countmix: code adapts by itself, or does not")
    reports = list(_code(options) if _is_code(options.what) else _models(options))
    if options.json:
        print(json.dumps([report.to_plain() for report in reports], indent=2))
    else:
        for report in reports:
            print_report(report)
    return 0 if all(report.ok for report in reports) else 2


def _is_code(what: str) -> bool:
    from weightless.audit.predictors.entry_point import is_entry_point

    return is_entry_point(what) and not Path(what).exists()


def _models(options: Audit) -> Iterator[Report]:
    """Every packed model that one word names."""
    from weightless.audit.predictors.adaptive import AdaptivePredictor
    from weightless.audit.predictors.audit import audit
    from weightless.audit.predictors.predictor import EnginePredictor
    from weightless.export.packed import open_packed

    path = Path(options.what)
    files = sorted(path.glob(f"models/*/{ARTIFACT}")) or [path / ARTIFACT] if path.is_dir() else [path]
    for file in files:
        packed = open_packed(file)
        own = packed.tokenizer if packed.has_tokenizer else None
        tokens, evidence = _material(
            options, own, packed.program.vocab_size, Path(packed.artifact.path), packed.tokenizer_sha256
        )
        if options.claim or not options.adaptive:  # what a run recorded is of the frozen model
            evidence = _with_claim(evidence, options, file, len(tokens), packed.program.context)
        name = file.parent.name if path.is_dir() else options.what
        with _progress(name, options.positions) as tick:
            yield audit(
                AdaptivePredictor(packed, options.positions) if options.adaptive else EnginePredictor(packed),
                tokens,
                evidence,
                name,
                options.positions,
                options.seed,
                options.tolerance,
                tick,
            )


def _code(options: Audit) -> Iterator[Report]:
    """One predictor in somebody else's code."""
    from weightless.audit.predictors.audit import audit
    from weightless.audit.predictors.entry_point import EntryPoint

    if not (options.data or options.text):
        raise ConfigError("code is audited on real text: give --text FILE or --data DIR")
    with EntryPoint(options.what) as predictor:
        tokens, evidence = _material(options, None, predictor.vocab_size, None)
        if options.claim:
            evidence = _with_claim(evidence, options, None, len(tokens), 0)
        with _progress(options.what, options.positions) as tick:
            yield audit(
                predictor, tokens, evidence, options.what, options.positions, options.seed, options.tolerance, tick
            )


def _material(
    options: Audit, own: Any, vocab_size: int, file: Path | None, ours: str | None = None
) -> tuple[np.ndarray, Evidence]:
    """The tokens to read, and what is known about them; `own` is the tokenizer that the model brings, `ours` the
    SHA-256 of that of its ids.
    """
    from weightless.audit.predictors.audit import Evidence
    from weightless.audit.predictors.claims import read_expected
    from weightless.cli.artifact import corpus_of
    from weightless.data.shards.corpus import corpus
    from weightless.data.text.sources import open_source

    named = _named_tokenizer(options.tokenizer) or own
    if options.text:
        documents = list(open_source(options.text))
        tokenizer = named or _bytes_tokenizer(vocab_size)
        tokens, evidence = (
            _encoded(documents, tokenizer),
            Evidence(source=b"".join(documents), validation=documents, n_documents=len(documents)),
        )
    else:
        assert options.data or file is not None
        found = corpus(options.data) if options.data else corpus_of(file)  # type: ignore[arg-type]
        tokenizer = named or (found.tokenizer() if found.has_tokenizer else None)
        _check_corpus(found, tokenizer, vocab_size, options, ours)
        tokens, evidence = (
            found.tokens("val"),
            replace(_of_corpus(found), refused=found.why_refused("val"), n_documents=found.n_documents("val")),
        )
    evidence = replace(evidence, expected=read_expected(options.expect))
    if options.train:
        from weightless.audit.predictors.data_overlap import documents_of

        if evidence.validation is None:
            raise WeightlessError(
                "--train compares documents, and the tokenizer of the validation ids is unknown: "
                "give --text, or import the corpus with --tokenizer"
            )
        evidence = replace(evidence, train=documents_of(options.train))
    if tokenizer is None:
        return tokens, evidence
    from weightless.audit.predictors.byte_counts import TokenBytes

    return tokens, replace(evidence, table=TokenBytes(tokenizer), pads=_pads(tokenizer))


def _of_corpus(found: Corpus) -> Evidence:
    """Its validation documents, and its training documents where comparing them takes seconds."""
    from weightless.audit.predictors.audit import Evidence
    from weightless.audit.predictors.data_overlap import corpus_documents

    if not found.has_tokenizer:
        return Evidence()
    small = found.n_tokens("train") <= MOST_COMPARED
    train = corpus_documents(found, "train") if small else None
    return Evidence(train=train, validation=corpus_documents(found, "val"))


def _check_corpus(found: Corpus, tokenizer: Any, vocab_size: int, options: Audit, ours: str | None) -> None:
    theirs = found.manifest["tokenizer_sha256"]
    if ours and theirs and ours != theirs:
        raise WeightlessError(
            f"{found.folder} was tokenised with another tokenizer than that of {options.what}: give "
            "data in the model's own tokens, or a text with --text"
        )
    if vocab_size and found.vocab_size != vocab_size:
        raise WeightlessError(
            f"{found.folder} has a vocabulary of {found.vocab_size}, {options.what} one of "
            f"{vocab_size}: give data in the model's own tokens, or a text with --text"
        )
    if tokenizer is not None and found.has_tokenizer:
        found.check_tokenizer(tokenizer)


def _named_tokenizer(path: str) -> Any:
    from weightless.tokenizer.opening import open_tokenizer

    return open_tokenizer(path) if path else None


def _bytes_tokenizer(vocab_size: int) -> Any:
    """Raw bytes, for code that knows 256 tokens (or does not say how many)."""
    from weightless.tokenizer.bpe import Tokenizer

    if vocab_size not in (0, 256):
        raise WeightlessError(f"a text has to be tokenised for a predictor of {vocab_size} tokens: give --tokenizer")
    return Tokenizer({i: bytes([i]) for i in range(256)}, [])


def _encoded(documents: list[bytes], tokenizer: Any) -> np.ndarray:
    """The documents in tokens, each behind its mark, if the tokenizer has one."""
    import numpy as np

    mark = [] if tokenizer.end_of_text is None else [tokenizer.end_of_text]
    parts = [np.array([*mark, *tokenizer.encode_ordinary_array(d).tolist()], dtype=np.int64) for d in documents]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _pads(tokenizer: Any) -> frozenset[int]:
    special = getattr(tokenizer, "special_tokens", None)
    if special is not None:
        return frozenset(i for name, i in special.items() if "pad" in name.lower())
    return frozenset() if tokenizer.model.pad_id is None else frozenset({tokenizer.model.pad_id})


def _with_claim(evidence: Evidence, options: Audit, file: Path | None, n_tokens: int, context: int) -> Evidence:
    """The claim that was named; else what the run recorded of the model, with the windows that `eval` scores."""
    from weightless.audit.predictors.byte_counts import Claim
    from weightless.evals.bits_per_byte import windows

    recorded = file.with_name("eval.json") if file is not None and not (options.text or options.data) else None
    if options.claim:
        claim = Claim.read(options.claim)
        if claim.ranges is not None or not claim.sampled or recorded is None:
            return replace(evidence, claim=claim)
    else:
        claim = Claim.read(recorded) if recorded and recorded.exists() else Claim()
    step = claim.stride or context
    ranges = [(first, end) for _, first, end in windows(n_tokens, context, min(step, context))]
    if claim.eval_tokens is None or claim.eval_tokens == n_tokens - 1:
        return replace(evidence, claim=replace(claim, ranges=tuple(ranges)))
    n = -(-claim.eval_tokens // step)
    picked = tuple(ranges[i * len(ranges) // n] for i in range(n))
    if sum(end - first for first, end in picked) != claim.eval_tokens:
        return replace(evidence, claim=replace(claim, sampled=True))
    return replace(evidence, claim=replace(claim, ranges=picked, sampled=True))


def _progress(name: str, positions: int) -> Any:
    """A display of the positions read, three times over, that names the check under way."""
    from weightless.base.progress import progress

    return progress(f"audit {name}", 3 * positions, "positions")


def print_report(report: Report) -> None:
    """The table of checks."""
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "FAILED": "bold red", "not applicable": "yellow"}
    title = f"{report.name}: {report.positions:,} positions, {report.nats_per_token:.4f} nats per token"
    table = Table(title=escape(title), title_justify="left")
    for column in ("check", "verdict", "found"):
        table.add_column(column, overflow="fold")
    for finding in report.findings:
        colour = colours[finding.verdict]
        table.add_row(finding.name, f"[{colour}]{finding.verdict}[/]", escape(finding.detail))
    print_table(table)
    verdict = f"FAILED: {', '.join(report.failed)}" if report.failed else "no check failed"
    print(f"{verdict}\n")
