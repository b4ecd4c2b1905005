"""Small configurations of infinigram, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import V

from weightless.models import infinigram

CASES = {f"length_{n}": infinigram.Config(V, n, context=33) for n in (1, 3, 16)}
