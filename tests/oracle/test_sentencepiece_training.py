"""Against the package sentencepiece: the same pieces in the same order with the same scores, the same ids and text.

Equality without tolerance.  What is left out, because it is known to differ: pieces that SentencePiece makes of pairs
that no longer occur, once the text is used up (the pieces before them, and the characters behind, are compared); and
characters added to Unicode after SentencePiece's table of scripts was made.
"""

from __future__ import annotations

import io
import random

import pytest
from tokenizer.texts import random_text

from weightless.data.text import fables
from weightless.tokenizer.piece_text import RULES, Normaliser, charsmap_of
from weightless.tokenizer.piece_train import PieceOptions, train_pieces
from weightless.tokenizer.sentencepiece import SentencePieceTokenizer

sentencepiece = pytest.importorskip("sentencepiece")

ALPHABETS = ["ab", "abc", "aA1, é", "あカ漢ー1a.", "abж\u0301,", "aа\u0308\u0301 12<s>"]


def theirs(lines: list[str], options: PieceOptions):
    """Their processor, trained with the same options."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=out,
        model_type="bpe",
        vocab_size=options.vocab_size,
        byte_fallback=options.byte_fallback,
        split_digits=options.split_digits,
        add_dummy_prefix=options.add_dummy_prefix,
        remove_extra_whitespaces=options.remove_extra_spaces,
        normalization_rule_name=options.normalisation,
        character_coverage=options.character_coverage,
        max_sentencepiece_length=options.longest_piece,
        max_sentence_length=1 << 20,
        hard_vocab_limit=False,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
        num_threads=1,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def compare(lines: list[str], options: PieceOptions):
    """(their processor on our file, our tokenizer), once both trainings were found to be equal."""
    package = theirs(lines, options)
    training = train_pieces(["\n".join(lines).encode()], options)
    ours = sentencepiece.SentencePieceProcessor(model_proto=training.content)
    pieces = [[p.id_to_piece(i) for i in range(p.vocab_size())] for p in (package, ours)]
    first, last = options.n_meta + training.n_merges, training.n_characters
    assert pieces[0][:first] == pieces[1][:first] and pieces[0][-last:] == pieces[1][-last:]
    assert [package.get_score(i) for i in range(first)] == [ours.get_score(i) for i in range(first)]
    for i in range(options.n_meta):
        for asked in ("is_control", "is_unknown", "is_byte", "is_unused"):
            assert getattr(package, asked)(i) == getattr(ours, asked)(i)
    if training.vocab_size == options.vocab_size:
        assert pieces[0] == pieces[1]
    return ours, SentencePieceTokenizer(training.content)


@pytest.mark.parametrize("seed", range(12))
def test_pieces_and_ids_on_random_text(seed):
    rng = random.Random(seed)
    alphabet = ALPHABETS[seed % len(ALPHABETS)]
    lines = ["".join(rng.choices(alphabet + "  ", k=rng.randint(1, 60))) for _ in range(rng.randint(5, 200))]
    options = PieceOptions(
        300 + rng.randrange(150),
        rng.choice(["identity", "nmt_nfkc"]),
        add_dummy_prefix=rng.random() < 0.5,
        remove_extra_spaces=rng.random() < 0.7,
        split_digits=rng.random() < 0.5,
        byte_fallback=rng.random() < 0.9,
        character_coverage=rng.choice([1.0, 0.98]),
        longest_piece=rng.choice([16, 3]),
    )
    package, tokenizer = compare(lines, options)
    for _ in range(20):
        text = rng.choice([rng.choice(lines), random_text(rng, rng.randrange(60))])
        ids = tokenizer.encode(text)
        assert ids == package.encode(text)
        others = [rng.randrange(tokenizer.vocab_size) for _ in range(rng.randrange(12))]
        for numbers in (ids, others):
            assert tokenizer.decode(numbers) == package.decode(numbers)


@pytest.mark.parametrize("rule", ["nmt_nfkc", "identity"])
def test_pieces_of_a_language(rule):
    lines = b"\n".join(fables.documents(seed=3, n_bytes=150_000)).decode().split("\n")
    for vocab_size, coverage in ((700, 0.9995), (2000, 1.0)):
        compare(lines, PieceOptions(vocab_size, rule, character_coverage=coverage))


@pytest.mark.parametrize("rule", RULES)
def test_normalisation_is_that_of_the_package(rule):
    rng = random.Random(rule)
    table = charsmap_of(rule)
    for adds in (False, True):
        package = theirs(["a b"] * 9, PieceOptions(300, rule, adds, remove_extra_spaces=not adds))
        own = Normaliser(table, adds, not adds)
        for n in (0, 1, 2, 3, 9, 63) * 9:
            text = (
                rng.choice(("", " ", "  \u3000")) + random_text(rng, n) + rng.choice(("ﬁ ½", "ｶﾞ", "e\u0301 ", "\u00ad"))
            )
            assert own.apply(text.encode()).decode() == package.normalize(text).replace(" ", "\u2581")
