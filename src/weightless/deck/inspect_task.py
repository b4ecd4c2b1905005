"""The deck as a task of inspect_ai (extra `inspect`): its models and logs, our prompts and our grader (floor 9).

    inspect eval weightless/deck --model PROVIDER/MODEL -T variant=literal -T cards=kv,backwards --epochs 3

A sample is a card, with the conversation that `deck run` opens.  The scorer turns the answer into files by the rules
of answers.py and grades them in the deck's own sandbox, not in one of inspect_ai's: what is scored is what `deck grade`
would say.  A score is C for PASS and I for anything else; status, told, levels and seed stand in its metadata.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Literal

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState, generate

from weightless.deck.answers import answer_of, write_answer
from weightless.deck.card import Card
from weightless.deck.catalog import card as card_named
from weightless.deck.catalog import cards as all_cards
from weightless.deck.grade import grade_card
from weightless.deck.interview import opening
from weightless.deck.sandbox import Backend, strongest
from weightless.deck.scaffold import TRAINED_CARD
from weightless.deck.wording import interface_of, prompt_of


@task
def deck(
    variant: Literal["clarified", "literal"] = "clarified", cards: str | list[str] = "", unsandboxed: bool = False
) -> Task:
    """Challenges as samples; `cards` are names with commas between, all that a chat can answer without any.

    Raises ConfigError for a card that is none, and where nothing isolates unless `unsandboxed`.
    """
    names = [name for name in (cards.split(",") if isinstance(cards, str) else cards) if name]
    chosen = [card_named(name) for name in names] or [card for card in all_cards() if card.name != TRAINED_CARD]
    samples = [Sample(id=card.name, input=_messages(card, variant), metadata=_about(card)) for card in chosen]
    backend = strongest(unsandboxed)
    return Task(
        dataset=MemoryDataset(samples, name=f"weightless deck, {variant} wording"),
        solver=generate(),
        scorer=graded(backend, variant),
        metadata={"variant": variant, **_stamps(backend)},
    )


def graded(backend: Backend, variant: str) -> Scorer:
    """A scorer that grades the files of an answer in `backend`."""

    @scorer(metrics=[accuracy(), stderr()], name="deck_grade")
    def deck_grade() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            card = card_named(str(state.sample_id))
            return await asyncio.to_thread(_score, card, state.output.completion, backend, variant)

        return score

    return deck_grade()


def _score(card: Card, text: str, backend: Backend, variant: str) -> Score:
    answer = answer_of(text, [pinned.name for pinned in card.pinned])
    with tempfile.TemporaryDirectory(prefix="deck-") as name:
        write_answer(answer, Path(name))
        result = grade_card(card, Path(name), backend, variant=variant)
    told = result["told"] or "every check passed"
    left = f" ({'; '.join(answer.left_out)})" if answer.left_out else ""
    kept: dict[str, Any] = {key: result[key] for key in ("status", "levels", "reached", "seed", "sandbox", "hashes")}
    return Score(
        value=CORRECT if result["status"] == "PASS" else INCORRECT,
        answer=answer.files.get("solution.py", ""),
        explanation=f"{result['status']}: {told}{left}",
        metadata=kept,
    )


def _messages(card: Card, variant: str) -> list[ChatMessage]:
    system, user = opening(prompt_of(card.name, variant), interface_of(card.name))
    return [ChatMessageSystem(content=system["content"]), ChatMessageUser(content=user["content"])]


def _about(card: Card) -> dict[str, Any]:
    return {"title": card.title, "difficulty": card.difficulty, "checks": len(card.checks)}


def _stamps(backend: Backend) -> dict[str, Any]:
    return {"sandbox": backend.name, "stamps": list(backend.stamps)}
