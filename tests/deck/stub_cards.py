"""Two cards that stand for the eight: texts in a folder, and the Card objects beside them."""

from __future__ import annotations

from pathlib import Path

from weightless.deck.card import Card, Check, Pinned

TEXTS = {
    "clarified.md": "Double a number: {card}.\n",
    "literal.md": "Double a number, by adding one: {card}.\n",
    "interface.md": "solution.py defines `double(x)`.\n",
    "traps.md": "# Traps of {card}\n\nOne is not two.\n",
    "rubric.md": "- Why does doubling work?\n- What does it cost,\n  in additions?\n",
}
CARDS = (
    Card("easy", "Doubling", "medium", 1, (Check("contract", "answers", print),), pinned=(Pinned("double", ("x",)),)),
    Card("ternary_training", "Doubling at length", "open-ended", 2, (), pinned=(Pinned("double", ("x",)),)),
)


def write_texts(root: Path) -> Path:
    """The texts of all cards in a folder, as src/weightless/deck/cards has them; the folder."""
    for card in CARDS:
        (root / card.name).mkdir(parents=True)
        for name, text in TEXTS.items():
            (root / card.name / name).write_text(text.format(card=card.name))
    return root
