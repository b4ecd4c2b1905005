"""Every planted cheat is caught, by the probe that is named for it; its honest twin passes every check.

Oracle: planted.py, where each cheat was written to break one rule.  The positions are few (the cheats break on most of
them); that 1,000 are asked for is the default of the verb.
"""

from __future__ import annotations

import pytest
from audit import planted
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import arange, array, concatenate, errstate, full, int64, log, nan
from numpy.random import default_rng

from weightless.audit.predictors.audit import Evidence, audit
from weightless.audit.predictors.byte_counts import (
    Claim,
    TokenBytes,
    identity,
    no_pad_scored,
    scored_once,
    sliding_windows,
)
from weightless.audit.predictors.data_overlap import overlap
from weightless.audit.predictors.findings import NOT_APPLICABLE, OK
from weightless.audit.predictors.predictor import ObjectPredictor
from weightless.base.errors import ConfigError, CorruptFileError
from weightless.data.text import fables
from weightless.data.text.split import split_by_hash
from weightless.tokenizer.bpe import Tokenizer
from weightless.tokenizer.patterns import END_OF_TEXT

POSITIONS = 150
TEXT = array(list(b" ".join(fables.documents(seed=4, n_bytes=4000))[:1500]), dtype=int64)


def failed(kind, tokens=TEXT, **evidence) -> set[str]:
    return set(audit(ObjectPredictor(kind), tokens, Evidence(**evidence), positions=POSITIONS).failed)


CHEATS = {
    planted.HashedCache: {"normalisation"},
    planted.EveryTokenIsLikely: {"normalisation"},
    planted.TwoPassScores: {"causality", "score before update"},
    planted.Rescorer: {"causality", "score before update", "single pass"},
    planted.TargetGate: {"score before update"},
    planted.SmallGain: {"score before update"},
    planted.RareTokensForNothing: {"score before update"},
    planted.UpdateThenScore: {"score before update"},
    planted.TailTwice: {"every target once"},
    planted.TailNever: {"every target once"},
}
TWINS = [planted.Adaptive, planted.NormalisedCache, planted.Remembering, planted.ConfidentGate, planted.Windows]


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda kind: kind.__name__)
def test_a_planted_cheat_is_caught_by(cheat):
    assert failed(cheat) == CHEATS[cheat]


@pytest.mark.parametrize("twin", TWINS, ids=lambda kind: kind.__name__)
def test_its_honest_twin_passes(twin):
    assert failed(twin) == set()


def test_an_unnormalised_cache_is_told_its_sum():
    report = audit(ObjectPredictor(planted.EveryTokenIsLikely), TEXT, positions=POSITIONS)
    assert "sum of p = 1000" in report.findings[0].detail and report.nats_per_token < 0


def test_pads_scored():
    padded = concatenate([TEXT[:700], full(50, planted.PAD)])
    pads = frozenset({planted.PAD})
    assert failed(planted.PadsScored, padded, pads=pads) == {"pads unscored"}
    assert failed(planted.PadsMasked, padded, pads=pads) == set()


# The three byte-count bugs, as public evaluation code has them: tables of a SentencePiece model, token by token.

PIECES = ["▁the", "▁hello", "▁fox", "▁", "s", "日本", "a▁b"]


def space_twice(piece: str, leading: bool) -> int:
    """The piece's text with its space, and the space once more where a word begins."""
    return len(piece.replace("▁", " ").encode()) + leading


def byte_piece_by_its_name(piece: str, leading: bool) -> int:
    return len(piece.lstrip("▁").replace("▁", " ").encode()) + leading


def bare_space_missing(piece: str, leading: bool) -> int:
    if piece.startswith("<0x"):
        return 1
    return 0 if piece == "▁" else len(piece.removeprefix("▁").replace("▁", " ").encode()) + leading


def right(piece: str, leading: bool) -> int:
    return 1 if piece.startswith("<0x") else len(piece.removeprefix("▁").replace("▁", " ").encode()) + leading


class Counting(planted.Adaptive):
    """A predictor over pieces that states bytes by one of the rules above."""

    def __init__(self, table: TokenBytes, rule):
        self.table, self.rule, self.vocab_size = table, rule, table.vocab_size

    def log_probs(self, prefix):
        return full(self.vocab_size, -log(self.vocab_size))

    def byte_counts(self, tokens):
        model, silent = self.table.tokenizer.model, self.table.silent
        out = []
        for before, token in zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True):
            piece = model.pieces[token]
            leading = piece.startswith("▁") and before not in silent
            out.append(0 if token in silent else self.rule(piece, leading))
        return array(out)


@pytest.fixture(scope="module")
def pieces() -> TokenBytes:
    from tokenizer.piece_models import BYTES, FIRST, NORMAL, model_file

    from weightless.tokenizer.sentencepiece import SentencePieceTokenizer

    content = model_file((*FIRST, *BYTES, *((piece, NORMAL) for piece in PIECES)), normalizer={3: 0})
    return TokenBytes(SentencePieceTokenizer(content))


def stream(table: TokenBytes, *names: str) -> list[int]:
    return [table.tokenizer.model.pieces.index(name) for name in names]


WORDS = ["<s>", *["▁hello"] * 60, "<0x0A>", "▁", "s", "日本", "a▁b", "<0xE6>", "<s>", "▁the", "▁fox"]


def test_space_counted_twice(pieces):
    """Words of six bytes with their space, counted as seven: +16.7 %."""
    finding = bytes_finding(pieces, stream(pieces, "s", *["▁hello"] * 60), space_twice)
    assert finding.verdict == "FAILED" and finding.detail.startswith("+16.7 %"), finding.detail
    assert "' hello' as 7, it has 6" in finding.detail


def test_byte_piece_counted_by_the_six_letters_of_its_name(pieces):
    finding = bytes_finding(pieces, stream(pieces, *WORDS), byte_piece_by_its_name)
    assert finding.verdict == "FAILED" and "as 6, it has 1" in finding.detail


def test_bare_space_missing(pieces):
    finding = bytes_finding(pieces, stream(pieces, *WORDS), bare_space_missing)
    assert finding.verdict == "FAILED" and "' ' as 0, it has 1" in finding.detail


def test_right_byte_counts_pass(pieces):
    assert bytes_finding(pieces, stream(pieces, *WORDS), right).verdict == OK


def bytes_finding(table: TokenBytes, tokens: list[int], rule):
    """The finding "byte counts" of a whole audit (decoding needs a package, so the text's own check is left out)."""
    from weightless.audit.predictors.byte_counts import claimed_bytes

    ids = array(tokens, dtype=int64)
    predictor = ObjectPredictor(lambda: Counting(table, rule))
    return claimed_bytes(table, ids, predictor.byte_counts(ids))


# Training on validation documents.


@pytest.fixture(scope="module")
def split() -> tuple[list[bytes], list[bytes]]:
    """(training documents, validation documents) that share nothing to speak of."""
    documents = [b" ".join(b"%dx%d" % (i, j * j % 997) for j in range(80)) for i in range(60)]
    return documents[:50], documents[50:]


def verdicts(train, validation) -> dict[str, str]:
    return {finding.name: finding.verdict for finding in overlap(train, validation).findings()}


def test_training_on_exact_copies(split):
    train, validation = split
    found = overlap([*train, *validation[:3]], validation)
    assert (found.n_copies, found.n_near) == (3, 0)
    assert verdicts([*train, *validation[:3]], validation)["no copies"] == "FAILED"


def test_training_on_near_copies(split):
    """One word in forty is changed, upper case, other white space: no hash agrees, most 13-grams do."""
    train, validation = split
    near = []
    for document in validation[:4]:
        words = document.upper().split()
        words[20] = b"changed"
        near.append(b"\n".join(words))
    assert verdicts([*train, *near], validation) == {"no copies": OK, "no near copies": "FAILED"}
    assert overlap([*train, *near], validation).n_near == 4


def test_training_on_a_collection_that_quotes_a_validation_document(split):
    train, validation = split
    assert verdicts([*train, b"Preface. " + validation[2] + b" The end."], validation)["no near copies"] == "FAILED"


def test_an_honest_split_passes(split):
    assert verdicts(*split) == {"no copies": OK, "no near copies": OK}


def test_the_projects_own_split_of_real_stories_passes():
    documents = list(fables.documents(seed=2, n_bytes=60_000))
    roles = split_by_hash(documents)
    sides = {role: [d for i, d in enumerate(documents) if roles.role(i) == role] for role in ("train", "val")}
    assert set(verdicts(sides["train"], sides["val"]).values()) == {OK}


def test_training_documents_reach_the_report(split):
    train, validation = split
    report = audit(
        ObjectPredictor(planted.Adaptive),
        TEXT,
        Evidence(train=[*train, validation[0]], validation=validation),
        positions=20,
    )
    assert report.failed == ["no copies"]


# Which targets are scored, and what a claim says of itself.


@given(st.integers(0, 300), st.integers(1, 40), st.data())
def test_sliding_windows_score_every_target_once(total, seq_len, data):
    stride = data.draw(st.integers(1, seq_len))
    cut = sliding_windows(total, seq_len, stride)
    assert [i for _, first, end in cut for i in range(first, end)] == list(range(total))
    assert all(ws <= first < end <= ws + seq_len for ws, first, end in cut)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), max_size=12), st.integers(2, 30))
def test_coverage_is_that_of_a_counting_loop(drawn, n_tokens):
    ranges = [(first, first + width) for first, width in drawn]
    times = [sum(first <= i < end for first, end in ranges) for i in range(60)]
    fair = all(times[i] == 1 for i in range(1, n_tokens)) and not times[0] and not any(times[n_tokens:])
    assert (scored_once(ranges, n_tokens).verdict == OK) == fair
    pads = arange(n_tokens) % 3 == 1
    assert (no_pad_scored(ranges, pads).verdict == OK) == (not any(times[i] for i in range(n_tokens) if pads[i]))


@pytest.mark.parametrize("ranges", [[(3, 1)], [(-1, 4)], [(1, 2, 3)], ["ab"]])
def test_ranges_that_are_none(ranges):
    with pytest.raises(CorruptFileError, match="range"):
        scored_once(ranges, 10)


def test_bytes_per_token_identity():
    """By hand: 1.2 nats per token, 4 bytes per token -> 1.2 / (4 ln 2) = 0.43281 bits per byte."""
    honest = Claim(nats_per_token=1.2, bits_per_byte=0.4328085, eval_tokens=100, eval_bytes=400)
    assert identity(honest, 4.0).verdict == OK
    assert identity(Claim(nats_per_token=1.2, bits_per_byte=0.4328085)).verdict == OK
    inflated = Claim(nats_per_token=1.2, bits_per_byte=0.4328085 * 6 / 7, eval_tokens=100)
    assert "+16.7 %" in identity(inflated, 4.0).detail
    assert identity(Claim(nats=120.0, eval_tokens=100, bits_per_byte=0.5), None).verdict == OK
    assert identity(Claim(nats=120.0, eval_tokens=100, eval_bytes=400, bits_per_byte=0.5)).verdict == "FAILED"
    assert identity(Claim()).verdict == NOT_APPLICABLE


def test_a_claim_is_read_strictly(tmp_path):
    (tmp_path / "a.json").write_text('{"bits_per_bite": 1}')
    with pytest.raises(ConfigError, match="bits_per_byte"):
        Claim.read(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"bits_per_byte": "1"}')
    with pytest.raises(CorruptFileError, match="should be a number"):
        Claim.read(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"bits_per_byte": 1, "ranges": [[1, 5], [5, 9]]}')
    assert Claim.read(tmp_path / "a.json").ranges == ((1, 5), (5, 9))


def test_a_log_of_losses_says_which_targets_were_scored(tmp_path):
    (tmp_path / "log.json").write_text('{"targets": [1, 2, 4, 3, 5, 4, 5]}')
    ranges = Claim.read(tmp_path / "log.json").ranges
    finding = scored_once(ranges, 7)
    assert "2 targets are scored more than once (first 4)" in finding.detail
    assert "1 are never scored (first 6)" in finding.detail
    assert scored_once(ranges[:5], 7, sampled=True).verdict == OK
    (tmp_path / "log.json").write_text('{"targets": [1, 2.5]}')
    with pytest.raises(CorruptFileError, match="whole numbers"):
        Claim.read(tmp_path / "log.json")


@pytest.mark.parametrize("wrong", [nan, 0.5])
def test_what_is_no_probability_is_told(wrong):
    """NaN in one entry, or one p above 1 (log p = 0.5)."""

    class Odd(planted.Adaptive):
        def log_probs(self, prefix):
            log_p = super().log_probs(prefix)
            log_p[7] = wrong
            return log_p

    finding = audit(ObjectPredictor(Odd), TEXT, positions=20).findings[0]
    assert finding.verdict == "FAILED" and "20 hold NaN or p > 1" in finding.detail


def test_a_probability_of_zero_is_legal():
    class Sparse(planted.Adaptive):
        def log_probs(self, prefix):
            with errstate(divide="ignore"):
                return log((arange(planted.V) < 128) / 128)

    assert audit(ObjectPredictor(Sparse), TEXT, positions=40).ok


def test_a_tolerance_lets_rounding_pass_and_nothing_else():
    """Noise of 1e-7 nats, as a GPU that adds in another order: refused for its bits, allowed by --tolerance 1e-5."""

    class Noisy(planted.Adaptive):
        def __init__(self):
            self.rng = default_rng()

        def log_probs(self, prefix):
            return super().log_probs(prefix) + 1e-7 * self.rng.standard_normal()

    def found(kind, tolerance):
        return set(audit(ObjectPredictor(kind), TEXT, positions=40, tolerance=tolerance).failed)

    assert "causality" in found(Noisy, 0.0) and found(Noisy, 1e-5) == set()
    assert "single pass" in found(planted.Rescorer, 1e-5)


def test_tokens_of_another_text_are_noticed():
    tokenizer = Tokenizer({**{i: bytes([i]) for i in range(256)}, 256: END_OF_TEXT.encode()}, [], [END_OF_TEXT])
    tokens, table = concatenate([[256], TEXT]), TokenBytes(tokenizer)
    text = bytes(TEXT.astype("u1"))

    class Marked(planted.Adaptive):
        vocab_size = 257

        def log_probs(self, prefix):
            return full(257, -5.549076)

    def finding(source):
        report = audit(ObjectPredictor(Marked), tokens, Evidence(table=table, source=source), positions=20)
        return {f.name: f for f in report.findings}["tokens hold the text"]

    assert finding(text).verdict == OK and f"{len(text):,} bytes" in finding(text).detail
    assert finding(text + b"!").verdict == "FAILED"
    assert finding(None).verdict == OK
