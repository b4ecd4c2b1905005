"""The steps of a tokenizer.json around its model, read and written: what is done to text before merging, and after.

    normalizer       none, or NFC
    pre_tokenizer    a Split by one of the patterns we know, Digits, and ByteLevel
    post_processor   none, ByteLevel (which changes offsets only), or a template that puts one special token in front
    decoder          none, or ByteLevel
    added_tokens     special ones, and ones that are text

Each reader returns what it means here, or raises ConfigError that names the step: ids are equal or there are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.tokenizer.patterns import PATTERNS, check_special_tokens
from weightless.tokenizer.rules import NFC

DIGITS = {"type": "Digits", "individual_digits": True}
SPELT = {
    **{PATTERNS[name]: name for name in ("gpt2", "gpt4", "qwen2")},
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt2",
}
"""Regular expressions by the name of their pattern here."""
_OFFSETS_ONLY = {"type", "trim_offsets", "add_prefix_space", "use_regex"}


def byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def written_pattern(pattern: str) -> dict[str, Any]:
    """The pre_tokenizer of a pattern."""
    if pattern in ("gpt2", "none"):
        return byte_level(pattern == "gpt2")
    if pattern == "starcoder":
        return {"type": "Sequence", "pretokenizers": [dict(DIGITS), byte_level(True)]}
    split = {"type": "Split", "pattern": {"Regex": PATTERNS[pattern]}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, byte_level(False)]}


def read_pattern(pre_tokenizer: Any, where: str) -> str:
    """The name of the pattern that a pre_tokenizer applies."""
    *splits, last = list(_steps(pre_tokenizer, "pretokenizers")) or [None]
    if isinstance(last, dict) and last.get("type") == "ByteLevel" and not last.get("add_prefix_space", True):
        use_regex = last.get("use_regex", True)
        if not splits:
            return "gpt2" if use_regex else "none"
        if splits == [DIGITS] and use_regex:
            return "starcoder"
        (split,) = splits if len(splits) == 1 and isinstance(splits[0], dict) else ({},)
        rest = {key: value for key, value in split.items() if key != "pattern"}
        regex = split["pattern"].get("Regex") if isinstance(split.get("pattern"), dict) else None
        if rest == {"type": "Split", "behavior": "Isolated", "invert": False} and not use_regex and regex in SPELT:
            return SPELT[regex]
    known = ", ".join(PATTERNS)
    raise ConfigError(f"{where}: its pre-tokenizer is none of the patterns {known}; it is {_told(pre_tokenizer)}")


def read_normaliser(normalizer: Any, where: str) -> str:
    """ "" or "nfc"."""
    steps = list(_steps(normalizer, "normalizers"))
    if steps and steps != [{"type": "NFC"}]:
        raise ConfigError(
            f"{where}: its normalizer ({names_of(normalizer)}) changes the text before it is tokenised, so "
            "bytes would not be those of the text; its ids can be imported by --vocab_size and "
            "--end_of_text, for nats per token"
        )
    return NFC if steps else ""


def names_of(step: Any) -> str:
    """The names of the steps that one is made of."""
    if not isinstance(step, dict):
        return "of unknown kind"
    for key in ("normalizers", "pretokenizers", "processors", "decoders"):
        if isinstance(step.get(key), list):
            return ", ".join(map(names_of, step[key]))
    return str(step.get("type"))[:40]


def read_mark(post_processor: Any, specials: dict[str, int], where: str) -> str:
    """The special token that a template puts in front of every text; "" without a template."""
    templates = [step for step in _steps(post_processor, "processors") if not _is_byte_level(step)]
    if not templates:
        return ""
    name = _first_of_template(templates[0]) if len(templates) == 1 else None
    if name is None or name not in specials or not _gives(templates[0], name, specials[name]):
        raise ConfigError(
            f"{where}: its post-processor ({names_of(post_processor)}) is not supported: only a template that puts one "
            "special token in front of the text is"
        )
    return name


def written_mark(mark: str, i: int) -> dict[str, Any]:
    """The post_processor that puts a special token in front of a text."""
    mine, first, second = (
        {"SpecialToken": {"id": mark, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}},
    )
    pair = [mine, first, {"SpecialToken": {"id": mark, "type_id": 1}}, second]
    known = {mark: {"id": mark, "ids": [i], "tokens": [mark]}}
    template = {"type": "TemplateProcessing", "single": [mine, first], "pair": pair, "special_tokens": known}
    return {"type": "Sequence", "processors": [byte_level(True), template]}


def _first_of_template(template: Any) -> str | None:
    """The token of a template that is it and the text, and of pairs no other."""
    if not isinstance(template, dict) or template.get("type") != "TemplateProcessing":
        return None
    single: Any = template.get("single")
    pair: Any = template.get("pair")
    try:
        name = single[0]["SpecialToken"]["id"]
        alone = len(single) == 2 and single[1]["Sequence"]["id"] == "A"
        others = {part["SpecialToken"]["id"] for part in pair if "SpecialToken" in part}
        texts = [part["Sequence"]["id"] for part in pair if "SpecialToken" not in part]
    except (TypeError, KeyError, IndexError):
        return None
    return name if isinstance(name, str) and alone and others <= {name} and texts == ["A", "B"] else None


def _gives(template: dict[str, Any], name: str, i: int) -> bool:
    """Whether a template's name stands for that one token."""
    known = template.get("special_tokens")
    entry = known.get(name) if isinstance(known, dict) else None
    return isinstance(entry, dict) and entry.get("ids") == [i]


def check_decoder(decoder: Any, where: str) -> None:
    """ConfigError unless decoding joins the bytes of tokens."""
    if not all(_is_byte_level(step) for step in _steps(decoder, "decoders")):
        raise ConfigError(f"{where}: its decoder ({names_of(decoder)}) is not supported, only ByteLevel")


def written_added(specials: dict[str, int], texts: dict[str, int]) -> list[dict[str, Any]]:
    """added_tokens, in the order of ids."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    every = sorted([*specials.items(), *texts.items()], key=lambda item: item[1])
    return [{"id": i, "content": name, **flags, "special": name in specials} for name, i in every]


def read_added(items: Any, composes: bool, where: str) -> tuple[dict[str, int], dict[str, int]]:
    """({special token: id}, {token that is text: id})."""
    found: tuple[dict[str, int], dict[str, int]] = {}, {}
    later: dict[bool, list[str]] = {False: [], True: []}
    for item in items if isinstance(items, list) else [items]:
        if not isinstance(item, dict) or type(item.get("id")) is not int or not isinstance(item.get("content"), str):
            raise CorruptFileError(f"{where}: added token {item!r:.80} lacks id or content")
        name = item["content"]
        for flag in ("single_word", "lstrip", "rstrip", *(["normalized"] if composes else [])):
            if item.get(flag):
                raise ConfigError(f"{where}: added token {name!r:.80} with {flag} is not supported")
        found[item.get("special") is False][name] = item["id"]
        later[bool(item.get("normalized"))].append(name)
    check_special_tokens([*found[0], *found[1]])
    _check_order(later[False], later[True], where)
    return found


def _check_order(first: Iterable[str], later: list[str], where: str) -> None:
    """Tokens sought in the raw text go before those sought in what normalisation leaves: they may not overlap."""
    for a in first:
        for b in later:
            if a in b or b in a or any(a[-n:] == b[:n] or b[-n:] == a[:n] for n in range(1, min(len(a), len(b)))):
                raise ConfigError(
                    f"{where}: added tokens {a!r:.80} and {b!r:.80} can overlap in a text, and the one without "
                    "normalized would go first: that is not supported"
                )


def _steps(step: Any, key: str) -> Iterator[Any]:
    """The steps of a sequence, or the one that it is; none for null."""
    if isinstance(step, dict) and step.get("type") == "Sequence" and isinstance(step.get(key), list):
        for part in step[key]:
            yield from _steps(part, key)
    elif step is not None:
        yield step


def _is_byte_level(step: Any) -> bool:
    return isinstance(step, dict) and step.get("type") == "ByteLevel" and set(step) <= _OFFSETS_ONLY


def _told(pre_tokenizer: Any) -> str:
    """A pre-tokenizer for a message: its steps, and the expression of the first that has one."""
    parts = [step for step in _steps(pre_tokenizer, "pretokenizers") if isinstance(step, dict)]
    regex = next((str(p["pattern"].get("Regex")) for p in parts if isinstance(p.get("pattern"), dict)), "")
    return names_of(pre_tokenizer) + (f" by {regex:.200}" if regex else "")
