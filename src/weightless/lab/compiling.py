"""Compile what the families' engines and the tokenizer need, so that nobody waits for it later (`./do setup`)."""

from __future__ import annotations

from weightless.models.catalog import families, family
from weightless.program.warm import warm
from weightless.tokenizer.compiling import compile_all


def compile_families() -> None:
    """Every family at its default size, in its default formats; says on standard error what takes a while."""
    compile_all()
    warm({name: family(name).decode_program(family(name).Config()) for name in families()})
