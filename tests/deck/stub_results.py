"""Attempts with results as a grading writes them, made up from a seed: for boards of any size."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weightless.base.files import append_line, json_line, write_json
from weightless.deck.given import Given
from weightless.deck.outcome import LEVELS

TOLD = {
    "WRONG_NUMERIC": "gradients are linear in dy: dx: off by 0.24 of its largest value, allowed 2.2e-15",
    "WRONG_SHAPE": "k beyond V: probabilities has shape (2, 3, 5), wanted (2, 3, 8)",
    "CRASH": "one token: IndexError: index 0 is out of bounds for axis 0 with size 0",
    "TIMEOUT": "N of 2,048: no answer within 30 s",
    "CONTRACT": "solution.py: rename layernorm_forward to layer_norm_forward",
    "SLOW": "processor time beside ours: 4.81 s of processor time, ours 0.42 s, allowed 2.60 s",
}


def write_attempt(into: Path, name: str, cards: Sequence[str], **more: Any) -> Path:
    """deck.json of one attempt, with no files given."""
    folder = into / name
    folder.mkdir(parents=True)
    model, variant = more.get("model", name), more.get("variant", "clarified")
    Given(name, model, variant, "2026-11-30T12:00:00+00:00", "0.1.0", "abc", {card: {} for card in cards}).write(folder)
    return folder


def write_result(folder: Path, card: str, failed: str = "", status: str = "WRONG_NUMERIC", **more: Any) -> None:
    """A result that failed at the level `failed` ('' for PASS; 'none' for NO_SUBMISSION)."""
    checks, told = [], ""
    for level in LEVELS if failed != "none" else ():
        state = status if level == failed else "PASS"
        told = TOLD.get(status, status) if level == failed else told
        checks.append({"level": level, "name": f"{level} holds", "status": state, "told": told, "seconds": 0.5})
        if level == failed == "contract":
            break
    final = "NO_SUBMISSION" if failed == "none" else status if failed else "PASS"
    result = {
        "result": 1,
        "card": card,
        "variant": "clarified",
        "status": final,
        "told": "nothing was handed in" if failed == "none" else told,
        "checks": checks,
        "tests": None,
        "seed": 1,
        "seconds": 1.5,
        "graded": "2026-11-30T12:30:00+00:00",
        "sandbox": {"backend": "bwrap", "sandboxed": True, "stamp": ""},
        "hashes": {"grader": "0" * 64, "submission": None},
    }
    write_json(folder / "results" / f"{card}.json", {**result, **more})


def many_attempts(into: Path, n_models: int, cards: Sequence[str], seed: int = 0) -> list[Path]:
    """Made-up models of rising skill, some with several attempts, some in both wordings."""
    rng, folders = random.Random(seed), []
    for number in range(n_models):
        skill = (number + 1) / (n_models + 1)
        name = (
            f"{rng.choice(['north', 'quill', 'ember', 'lumen', 'atlas'])}-{rng.choice(['7b', '32b', 'coder', 'mini'])}"
        )
        for attempt in range(rng.choice((1, 1, 3))):
            folder = write_attempt(
                into,
                f"{name}-{number}.{attempt}",
                cards,
                model=f"{name}-{number}",
                variant=rng.choice(("clarified",) * 3 + ("literal",)),
            )
            folders.append(folder)
            for card in cards:
                if rng.random() < 0.08:
                    write_result(folder, card, "none")
                elif rng.random() < skill:
                    write_result(folder, card)
                else:
                    status = rng.choice(list(TOLD))
                    write_result(folder, card, "contract" if status == "CONTRACT" else rng.choice(LEVELS[1:]), status)
            if number % 2:
                asked = {
                    "model": name,
                    "endpoint": "http://127.0.0.1:1/v1",
                    "sampling": {},
                    "price_in": 1,
                    "price_out": 8,
                }
                write_json(folder / "asked.json", asked)
                (folder / "exchanges").mkdir()
                for card in cards:
                    line = {"error": None, "answer": "", "finish": "stop", "seconds": rng.uniform(9, 90)}
                    line |= {"tokens_in": 1500, "tokens_out": rng.randrange(900, 9000)}
                    append_line(folder / "exchanges" / f"{card}.jsonl", json_line(line))
    return folders
