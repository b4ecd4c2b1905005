"""What other people's tokenizers do beside merging: the kernels against the readable twin, on malformed bytes too.

Oracles: reference.encode, Python's unicodedata, and the bytes of the text.  Hugging Face's own ids: tests/oracle.
"""

from __future__ import annotations

import json
import pickle
import random
import unicodedata

import pytest
from tokenizer.published import KINDS, NAMES, TEXTS, published
from tokenizer.test_storage import resealed
from tokenizer.texts import random_bytes

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.tokenizer import Tokenizer, interchange, reference, streaming
from weightless.tokenizer.kept_text import kept
from weightless.tokenizer.rules import Rules, composed

ODD = ["e\u0301", "K\u0301", "\u1100\u1161\u11a8", "\u212a", "<think>\u0338", "<|endoftext|>\u0338", "\u0958", "\uf900"]


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request) -> Tokenizer:
    return interchange.from_hf(published(request.param))


@pytest.fixture(scope="module")
def qwen() -> Tokenizer:
    return interchange.from_hf(published("qwen3"))


def odd_bytes(rng: random.Random, n: int, names: tuple[str, ...]) -> bytes:
    pieces = [rng.choice(ODD).encode() if rng.random() < 0.2 else random_bytes(rng, 1, names) for _ in range(n)]
    return b"".join(pieces)


def twin(tokenizer: Tokenizer, text: bytes, specials: bool = True) -> list[int]:
    marks = tokenizer.special_tokens
    vocab = {i: token for i, token in tokenizer.vocab.items() if i not in set(marks.values())}
    names = marks if specials else {}
    vocab |= {i: name.encode() for name, i in names.items()}
    return reference.encode(text, vocab, tokenizer.merges, names, tokenizer.pattern, tokenizer.rules)


def test_ids_are_those_of_the_twin(tokenizer):
    rng = random.Random(tokenizer.pattern)
    names = (*tokenizer.special_tokens, *tokenizer.rules.text_tokens)
    for n in (0, 1, 2, 5, 31, 127) * 12:
        text = odd_bytes(rng, n, names)
        assert tokenizer.encode(text) == twin(tokenizer, text)
        assert tokenizer.encode_ordinary_array(text).tolist() == twin(tokenizer, text, specials=False)


def test_the_text_comes_back_and_composed_where_that_is_the_rule(tokenizer):
    rng = random.Random(3)
    for n in (1, 5, 31) * 20:
        text = odd_bytes(rng, n, tuple(tokenizer.special_tokens))
        back = tokenizer.decode_bytes(tokenizer.encode_ordinary_array(text))
        if not tokenizer.rules.normaliser:
            assert back == text
        else:
            pieces = list(reference.split_special(text, tokenizer.rules.text_tokens))
            assert back == b"".join(piece if found else composed(piece) for piece, found in pieces)


def test_composing_is_unicodes_and_leaves_bytes_alone():
    for text in ("", "plain", "e\u0301", "\u212b\ud7a3", "\u1100\u1161\u11a8"):
        assert composed(text.encode()).decode() == unicodedata.normalize("NFC", text)
    assert composed(b"\xff\xc3e\xcc\x81\x80") == b"\xff\xc3\xc3\xa9\x80"


def test_streams_are_cut_where_composing_cannot_reach(qwen, monkeypatch):
    monkeypatch.setattr(streaming, "PENDING_BYTES", 7)
    rng = random.Random(4)
    for n in (3, 17, 80) * 30:
        text = odd_bytes(rng, n, tuple(qwen.special_tokens)) + b"ab e\xcc\x81 1! "
        places = sorted(rng.choices(range(len(text)), k=n))
        chunks = [text[a:b] for a, b in zip([0, *places], [*places, len(text)])]
        assert list(qwen.encode_iterable(chunks)) == qwen.encode(text)


def test_cutting_between_a_letter_and_its_mark_would_show(qwen):
    """The case that the rule is for: the accent is a character of another class behind a letter."""
    text = b"caf" + "e\u0301".encode() + b" and so on, for as long as a name"
    for size in range(len(text)):
        cut = qwen._encoder.safe_cut(text[:size])
        assert qwen.encode(text[:cut]) + qwen.encode(text[cut:]) == qwen.encode(text)
    assert qwen._encoder.safe_cut(text) > 0


def test_words_that_are_tokens_are_not_merged():
    llama = interchange.from_hf(published("llama3"))
    ids = {token: i for i, token in enumerate(llama.token_bytes)}
    for word in (" lookedup", "wholeandmorethanfifteenletters"):
        assert llama.encode(word) == [ids[word.encode()]]
        assert len(llama.encode(word + "x")) > 1, "no merge makes it"


def test_where_a_document_begins(tokenizer):
    wanted = "<|begin_of_text|>" if tokenizer.rules.whole_words else "<|endoftext|>"
    assert tokenizer.end_of_text == tokenizer.special_tokens[wanted]


def test_tokens_that_are_text_have_their_bytes(qwen):
    """Special ones stand for none; both are found, and the ordinary encoding finds those that are text."""
    (think,) = qwen.encode("<think>")
    assert qwen.encode_ordinary_array("<think>").tolist() == [think]
    assert int(qwen.byte_table.total([think])) == len("<think>")
    assert int(qwen.byte_table.total(qwen.encode("<|im_start|>"))) == 0
    assert len(qwen.encode_ordinary_array("<|im_start|>")) > 1
    assert TEXTS["qwen3"] == list(qwen.rules.text_tokens) and list(qwen.special_tokens) == NAMES["qwen3"]


@pytest.mark.parametrize(
    ("text", "is_source", "refused"),
    [
        ("caf\u00e9", True, ""),
        ("cafe\u0301", False, ""),
        ("\uf900", False, ""),  # as many bytes as what it becomes: another text all the same
        ("\u0958", False, "3 bytes of text decode to 6 (200.0 %), by"),  # composing takes it apart
    ],
)
def test_a_text_that_composing_changes_is_noticed(qwen, text, is_source, refused):
    found = kept(qwen, text.encode(), qwen.encode_ordinary_array(text))
    assert found.is_source == is_source == (found.n_rewritten == 0)
    assert found.refused.startswith(refused) and bool(found.refused) == bool(refused)
    assert found.decoded_bytes == len(unicodedata.normalize("NFC", text).encode())
    twice = found + found
    assert twice.n_rewritten == 2 * found.n_rewritten and not found.lost


def test_files_and_copies_keep_the_rules(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "t.json")
    for again in (Tokenizer.load(tmp_path / "t.json"), pickle.loads(pickle.dumps(tokenizer))):
        assert again.sha256 == tokenizer.sha256 and again.rules == tokenizer.rules
    plain = Tokenizer(tokenizer.vocab, tokenizer.merges, tokenizer.special_tokens, tokenizer.pattern, Rules(**OTHER))
    assert plain.sha256 != tokenizer.sha256
    assert json.loads(tokenizer.to_json())["version"] == (2 if tokenizer.rules.plain() else 1)


OTHER = {"normaliser": "nfc", "whole_words": True}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({}, "says something"),
        ([], "says something"),
        ({"normaliser": "nfd"}, "unknown normaliser 'nfd'"),
        ({"normaliser": ""}, "means nothing"),
        ({"whole_words": 1}, "means nothing"),
        ({"lower": True}, "means nothing"),
        ({"text_tokens": ["<nowhere>"]}, "'<nowhere>' is special, or not in the vocabulary"),
        ({"text_tokens": ["<|im_end|>"]}, "is special"),
        ({"text_tokens": [3]}, "non-empty string"),
        ({"mark": "<|nobody|>"}, "is no special token"),
    ],
)
def test_rules_that_say_nothing_or_too_much(qwen, rules, message):
    with pytest.raises(CorruptFileError, match=message):
        Tokenizer.from_json(resealed({**json.loads(qwen.to_json()), "rules": rules}))


A, B = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
END = {"SpecialToken": {"id": "<|end_of_text|>", "type_id": 0}}


def overlapping(values) -> None:
    values["added_tokens"].append({**values["added_tokens"][0], "content": "x<|end", "id": 701, "normalized": False})


def template(**parts):
    """Other parts in Llama 3's template."""
    return lambda values: values["post_processor"]["processors"][1].update(parts)


def step(number: int, **parts):
    """Other settings of a step before the merges."""
    return lambda values: values["pre_tokenizer"]["pretokenizers"][number].update(parts)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("qwen3", lambda v: v.update(normalizer={"type": "NFKC"}), r"its normalizer \(NFKC\)"),
        ("qwen3", lambda v: v["added_tokens"][0].update(normalized=True), "'<|endoftext|>' with normalized"),
        ("qwen3", step(0, invert=True), r"it is Split, ByteLevel by \(\?i"),
        ("qwen3", step(0, pattern={"Regex": r"\w+"}), r"by \\w\+"),
        ("qwen3", step(0, pattern={"String": " "}), "none of the patterns"),
        ("qwen3", step(1, use_regex=True), "none of the patterns"),
        ("qwen3", lambda v: v["pre_tokenizer"]["pretokenizers"].pop(), "none of the patterns"),
        ("smollm2", step(0, individual_digits=False), "Digits, ByteLevel"),
        ("llama3", template(single=[A, END]), r"post-processor \(ByteLevel, TemplateProcessing\)"),
        ("llama3", template(single=[END, A]), "only a template that puts one"),
        ("llama3", template(pair=[A, END, B]), "only a template that puts one"),
        ("llama3", template(special_tokens={}), "only a template that puts one"),
        ("llama3", lambda v: v.update(post_processor={"type": "BertProcessing"}), "BertProcessing"),
        ("gpt2", overlapping, "can overlap"),
        ("gpt2", lambda v: v["model"]["merges"].append(v["model"]["merges"][0]), "listed twice"),
        ("gpt2", lambda v: v["added_tokens"][0].update(id=3), "another id in the vocabulary"),
        ("llama3", lambda v: v["model"]["merges"].append(["a", "zzz"]), "is no token"),
        ("llama3", lambda v: v["model"].update(ignore_merges=False), "made by no earlier merge"),
    ],
)
def test_what_is_not_exact_is_refused_by_name(kind, change, message):
    values = json.loads(json.dumps(published(kind)))
    change(values)
    with pytest.raises((ConfigError, CorruptFileError), match=message) as caught:
        interchange.from_hf(values)
    assert "\n" not in str(caught.value)
