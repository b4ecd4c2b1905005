"""The adapter to inspect_ai: one evaluation offline, with the model that the package brings for tests.

Oracle: the status that the deck's own grader gives the same files, seen through the score that inspect_ai kept.
"""

from __future__ import annotations

import gc
import warnings

import pytest

pytest.importorskip("inspect_ai")

from deck.stub_cards import CARDS, write_texts

from weightless.base.errors import ConfigError
from weightless.deck import inspect_task, wording
from weightless.deck.outcome import Failed

pytestmark = pytest.mark.filterwarnings("ignore")  # the package warns of its own dependencies
GOOD = "```python solution.py\ndef double(x):\n    return 2 * x\n```\n"
EASY = CARDS[0]


@pytest.fixture(autouse=True)
def nothing_is_left_for_later_tests():
    """The package leaves streams open, which say so when they are collected: here, and not in somebody else's test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


def in_process(card, folder, backend, **more):
    """A stand-in for the grader that runs nothing: the text decides."""
    files = sorted(path.name for path in folder.iterdir())
    status = "NO_SUBMISSION" if not files else "PASS" if "2 * x" in (folder / files[0]).read_text() else "CONTRACT"
    told = "" if status == "PASS" else Failed(status, "no").told
    return {"status": status, "told": told, "levels": {}, "reached": None, "seed": 1, "sandbox": {}, "hashes": {}}


@pytest.mark.parametrize(("text", "value", "told"), [(GOOD, "C", "PASS"), ("I cannot.", "I", "NO_SUBMISSION: no")])
def test_one_evaluation_scores_what_the_grader_says(tmp_path, monkeypatch, text, value, told):
    from inspect_ai import eval as evaluated
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    root = write_texts(tmp_path / "cards")
    for name, value_of in (("card_named", lambda name: EASY), ("all_cards", lambda: CARDS)):
        monkeypatch.setattr(inspect_task, name, value_of)
    monkeypatch.setattr(inspect_task, "prompt_of", lambda card, variant: wording.prompt_of(card, variant, root))
    monkeypatch.setattr(inspect_task, "interface_of", lambda card: wording.interface_of(card, root))
    monkeypatch.setattr(inspect_task, "strongest", lambda unsandboxed: None)
    monkeypatch.setattr(inspect_task, "grade_card", in_process)
    monkeypatch.setattr(inspect_task, "_stamps", lambda backend: {})
    said = ModelOutput.from_content("mockllm/model", text)
    said.usage = ModelUsage(input_tokens=1, output_tokens=1)  # else tokens are counted by a table from the network
    model = get_model("mockllm/model", custom_outputs=[said])
    (log,) = evaluated(
        inspect_task.deck(variant="literal"), model=model, log_dir=str(tmp_path / "logs"), display="none"
    )
    assert log.status == "success", log.error
    (sample,) = log.samples or []  # the card that is trained is no question for a chat
    assert sample.id == "easy" and "by adding one" in sample.input[1].content
    (score,) = (sample.scores or {}).values()
    assert score.value == value and (score.explanation or "").startswith(told)


def test_a_card_that_is_none_is_named():
    with pytest.raises(ConfigError, match="no card 'nothing'"):
        inspect_task.deck(cards="nothing")
