"""The tokenizer of a GGUF file: byte-level BPE both ways, and SentencePiece's BPE on the way out.

    tokenizer.ggml.model        gpt2 (byte-level BPE), llama (SentencePiece's); read, too: none (ids alone)
    tokenizer.ggml.pre          the pattern that cuts words, by llama.cpp's names for it
    tokenizer.ggml.tokens, token_type, merges, scores, bos_token_id, eos_token_id, add_bos_token …

llama.cpp has these of our patterns:

    gpt2       gpt-2                        qwen2       qwen2
    gpt4       dbrx, and with words looked up whole llama-bpe            starcoder   starcoder
    none       nothing of the kind: refused

It never normalises: where a tokenizer composes characters (NFC) the ids are equal on text that is composed already, and
that is told.  What its keys do not say (that normaliser, a mark) travels in `weightless.tokenizer`, so that reading the
file again gives the same tokenizer.  Errors: ConfigError, CorruptFileError.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError, nearest
from weightless.export.from_folder import NO_TEXT, REMEDY
from weightless.tokenizer import Tokenizer
from weightless.tokenizer.huggingface import visible_names
from weightless.tokenizer.patterns import END_OF_TEXT, from_visible, to_visible
from weightless.tokenizer.piece_file import BYTE, CONTROL, NORMAL, UNUSED, USER_DEFINED, SentencePieceModel
from weightless.tokenizer.rules import OURS, Rules

OWN, ENDS = "weightless.tokenizer", "weightless.eos_token_ids"
BEGIN = "tokenizer.ggml."
NOTHING = ("none", "no_vocab")
WRITTEN = {
    ("gpt2", False): "gpt-2",
    ("gpt4", False): "dbrx",
    ("gpt4", True): "llama-bpe",
    ("qwen2", False): "qwen2",
    ("starcoder", False): "starcoder",
}
"""(pattern, whether words are looked up whole) by llama.cpp's names."""
READ = {
    **{name: kind for kind, name in WRITTEN.items()},
    "gpt2": ("gpt2", False),
    "llama3": ("gpt4", True),
    "llama-v3": ("gpt4", True),
    "smaug-bpe": ("gpt4", False),
    "smollm": ("starcoder", False),
}
IDLE = (
    "eot_token_id eom_token_id unknown_token_id padding_token_id seperator_token_id separator_token_id mask_token_id "
    "cls_token_id add_eos_token add_space_prefix scores fim_pre_token_id fim_suf_token_id fim_mid_token_id "
    "fim_pad_token_id fim_rep_token_id fim_sep_token_id prefix_token_id suffix_token_id middle_token_id "
    "token_type_count add_sep_token"
).split()
"""Keys that change no id of a text as it is cut here."""


def text_keys(tokenizer: Tokenizer, ends: Iterable[int], marked: bool) -> tuple[dict[str, Any], list[str]]:
    """(the keys of a byte-level tokenizer, notes); ConfigError for what llama.cpp would cut otherwise.

    `ends`: ids at which a text ends, the first of which the file names.  `marked`: put the mark before every text.
    """
    rules = tokenizer.rules
    kind = (tokenizer.pattern, rules.whole_words)
    if kind not in WRITTEN:
        whole = " with words looked up whole" if rules.whole_words else ""
        known = ", ".join(pattern + (" with whole words" if w else "") for pattern, w in WRITTEN)
        raise ConfigError(
            f"llama.cpp has no pre-tokenizer of the pattern {tokenizer.pattern!r}{whole}, only of {known}"
        )
    names = sorted(visible_names(tokenizer).items(), key=lambda item: item[1])
    types = np.full(tokenizer.vocab_size, NORMAL, np.int32)
    types[list(tokenizer.special_tokens.values())] = CONTROL
    types[[i for name, i in names if name in rules.text_tokens]] = USER_DEFINED
    mark = tokenizer.end_of_text
    ends = [*ends, *([tokenizer.special_tokens[END_OF_TEXT]] if END_OF_TEXT in tokenizer.special_tokens else [])]
    assert mark is not None
    keys = {
        BEGIN + "model": "gpt2",
        BEGIN + "pre": WRITTEN[kind],
        BEGIN + "tokens": [name for name, _ in names],
        BEGIN + "token_type": types,
        BEGIN + "merges": [f"{to_visible(a)} {to_visible(b)}" for a, b in tokenizer.merges],
        **_ends(mark, ends or [mark], marked or bool(rules.mark)),
        BEGIN + "add_space_prefix": False,
    }
    if _rules_by_keys(keys, names) != rules:
        keys[OWN] = json.dumps({"rules": rules.plain()}, ensure_ascii=False)
    return keys, _notes(tokenizer)


def _ends(mark: int, ends: Iterable[int], marked: bool) -> dict[str, Any]:
    first, *more = dict.fromkeys(ends)
    keys = {BEGIN + "bos_token_id": mark, BEGIN + "eos_token_id": first}
    keys |= {BEGIN + "add_bos_token": marked, BEGIN + "add_eos_token": False}
    return keys | ({ENDS: np.array([first, *more], np.int32)} if more else {})


def _notes(tokenizer: Tokenizer) -> list[str]:
    notes = []
    if tokenizer.rules.normaliser:
        notes.append("llama.cpp does not compose characters (NFC): ids are equal on text that is composed already")
    names = [*tokenizer.special_tokens, *tokenizer.rules.text_tokens]
    first: dict[str, list[str]] = {}
    for name in names:
        first.setdefault(name[0], []).append(name)
    for name in names:
        for at in range(1, len(name)):
            for other in first.get(name[at], ()):
                if other != name and other.startswith(name[at:]) and len(other) > len(name) - at:
                    told = f"the special tokens {name!r:.40} and {other!r:.40} may overlap in a text"
                    return [*notes, f"{told}: llama.cpp takes the longer of them, here the first is taken"]
    return notes


def piece_keys(model: SentencePieceModel, vocab_size: int, where: str) -> tuple[dict[str, Any], list[str]]:
    """(the keys of a SentencePiece model, notes); ids behind its pieces are unused."""
    n = len(model.pieces)
    if n > vocab_size:
        raise ConfigError(f"{where} has {n} pieces and the model {vocab_size} ids: it belongs to another")
    if model.model_type != "bpe" or not (model.has_byte_fallback and (model.types == BYTE).sum() == 256):
        told = f"{where} is a {model.model_type} model" + ("" if model.has_byte_fallback else " without byte pieces")
        raise ConfigError(f"{told}: llama.cpp's llama tokenizer is BPE with a piece for every byte")
    if model.space_is_suffix or not model.escapes_spaces:
        raise ConfigError(f"{where} writes spaces otherwise than as U+2581 before a word: llama.cpp has no such thing")
    mark = model.bos_id if model.bos_id is not None else model.eos_id
    if mark is None:
        raise ConfigError(f"{where} has neither BOS nor EOS, before which a text begins here")
    more = range(n, vocab_size)
    keys: dict[str, Any] = {
        BEGIN + "model": "llama",
        BEGIN + "pre": "default",
        BEGIN + "tokens": [*model.pieces, *(f"<|unused_{i}|>" for i in more)],
        BEGIN + "scores": np.concatenate([model.scores, np.full(len(more), -1e4)]).astype(np.float32),
        BEGIN + "token_type": np.concatenate([model.types, np.full(len(more), UNUSED)]).astype(np.int32),
        **_ends(mark, [model.eos_id if model.eos_id is not None else mark], True),
        BEGIN + "unknown_token_id": int(np.flatnonzero(model.types == 2)[0]),
        BEGIN + "add_space_prefix": model.adds_first_space,
    }
    notes = []
    if model.normalisation != "identity" or model.removes_spaces:
        told = f"normalise text ({model.normalisation}{', surplus spaces' if model.removes_spaces else ''})"
        notes.append(f"llama.cpp does not {told}: ids are equal on text that is so already")
    return keys, notes


def no_text_keys(vocab_size: int, ends: Iterable[int]) -> tuple[dict[str, Any], list[str]]:
    """(the keys of a model that knows ids and no text, notes): every id has the name <|id|>, and is found by it.

    llama.cpp has a kind of its own for that (`none`), on which its server aborts.
    """
    ends = list(ends)
    keys = {
        BEGIN + "model": "gpt2",
        BEGIN + "pre": "gpt-2",
        BEGIN + "tokens": [f"<|{i}|>" for i in range(vocab_size)],
        BEGIN + "token_type": np.full(vocab_size, USER_DEFINED, np.int32),
        BEGIN + "merges": [],
        **_ends(ends[0] if ends else 0, ends or [0], False),
        OWN: NO_TEXT,
    }
    notes = ["without a tokenizer: the file knows ids and no text; id 5 is written <|5|> there"]
    return keys, [*notes, *([] if ends else ["nothing says where a text ends: the file names id 0"])]


def tokenizer_of(keys: Mapping[str, Any], where: str) -> Tokenizer | None:
    """The tokenizer of a file, None where it has none; ConfigError for one that is not ours to do."""
    kind = keys.get(BEGIN + "model")
    if kind is None or kind in NOTHING or keys.get(OWN) == NO_TEXT:
        return None
    _check_keys(keys, where)
    if kind != "gpt2":
        raise ConfigError(
            f"{where}: a tokenizer of the kind {kind!r:.40} cannot travel in an artifact, only gpt2{REMEDY}"
        )
    pre = keys.get(BEGIN + "pre")
    if not isinstance(pre, str) or pre not in READ:
        raise ConfigError(f"{where}: its pre-tokenizer {pre!r:.40} is none of {', '.join(READ)}{REMEDY}")
    tokens, merges = (_texts(keys, name, where) for name in ("tokens", "merges"))
    types = keys.get(BEGIN + "token_type", np.full(len(tokens), NORMAL, np.int32))
    if not isinstance(types, np.ndarray) or types.dtype.kind not in "iu" or len(types) != len(tokens):
        raise CorruptFileError(f"{where}: {BEGIN}token_type does not give {len(tokens)} tokens a type each")
    names = [(name, i) for i, name in enumerate(tokens)]
    texts = set(np.flatnonzero(types == USER_DEFINED).tolist())
    specials = {tokens[i]: i for i in np.flatnonzero((types != NORMAL) & (types != BYTE)).tolist() if i not in texts}
    if len(set(tokens)) != len(tokens):
        raise CorruptFileError(f"{where}: two tokens have one name")
    try:
        literal = texts | set(specials.values())
        vocab = {i: name.encode() if i in literal else from_visible(name) for name, i in names}
        pairs = [_pair(merge) for merge in merges]
        rules = _own_rules(keys, where) or _rules_by_keys(keys, names)
        return Tokenizer(vocab, pairs, specials, READ[pre][0], rules)
    except (KeyError, ValueError) as error:
        raise CorruptFileError(f"{where}: its tokens or merges are damaged ({error!r:.80}){REMEDY}") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}{REMEDY}") from None


def _check_keys(keys: Mapping[str, Any], where: str) -> None:
    known = ["model", "pre", "tokens", "token_type", "merges", "bos_token_id", "eos_token_id", "add_bos_token", *IDLE]
    for key in keys:
        if key.startswith(BEGIN) and key[len(BEGIN) :] not in known:
            raise ConfigError(
                f"{where} has a key {key!r:.80} that is not known ({nearest(key[len(BEGIN) :], known)}); it may change "
                f"the ids of a text{REMEDY}"
            )


def _texts(keys: Mapping[str, Any], name: str, where: str) -> list[str]:
    values = keys.get(BEGIN + name)
    if not isinstance(values, list):
        raise CorruptFileError(f"{where}: {BEGIN}{name} is no list of texts{REMEDY}")
    return values


def _pair(merge: str) -> tuple[bytes, bytes]:
    left, gap, right = merge.partition(" ")
    if not (left and gap and right) or " " in right:
        raise ValueError(f"merge {merge!r:.40}")
    return from_visible(left), from_visible(right)


def _rules_by_keys(keys: Mapping[str, Any], names: list[tuple[str, int]]) -> Rules:
    """What llama.cpp's own keys say of the rules."""
    mark, types = keys.get(BEGIN + "bos_token_id"), keys.get(BEGIN + "token_type", ())
    name = names[mark][0] if type(mark) is int and 0 <= mark < len(names) else ""
    marks = keys.get(BEGIN + "add_bos_token") is True and name != END_OF_TEXT
    texts = tuple(name for (name, _), kind in zip(names, types) if kind == USER_DEFINED)
    return Rules("", READ[keys[BEGIN + "pre"]][1], texts, name if marks else "")


def _own_rules(keys: Mapping[str, Any], where: str) -> Rules | None:
    """What we wrote beside them."""
    if OWN not in keys:
        return None
    try:
        said = json.loads(keys[OWN])["rules"]
        return Rules.read(said) if said else OURS
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptFileError(f"{where}: {OWN} is damaged ({error!r:.80})") from None
