"""The studies that come with the laboratory: each loads, its arms can be made, its predictions name what is there.

Oracles: the ledger's count of every arm of the frontier; arithmetic on the budgets that the headers promise.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from weightless.lab.vocabulary_study import load_study as load_vocabulary_study
from weightless.study import arms as arms_room
from weightless.study import prediction, study_file
from weightless.study.quantities import Counter

FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "studies"
PRESETS = sorted(path for path in FOLDER.glob("*.toml") if not path.stem.startswith("vocabulary"))


def test_all_presets_are_there():
    wanted = {"lr", "batch", "ablations", "corpora", "scaling", "frontier", "golf", "weightless"}
    assert wanted <= {path.stem for path in PRESETS}
    assert load_vocabulary_study(FOLDER / "vocabulary.toml").name == "vocabulary"


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_is_a_whole_study(path):
    study = study_file.load_study(path)
    arms, _ = arms_room.arms_of(study)
    assert study.name == path.stem
    assert study.question.text and study.question.hypothesis and study.question.does_not_show and study.question.next
    assert study.question.predictions
    names = list(dict.fromkeys(arm.of or arm.name for arm in arms))
    settings = {arm.name: arm.setting for arm in arms}
    for text in study.question.predictions:
        prediction.check(text, names, settings=settings)
    assert "PREDICTION, written before" in path.read_text(encoding="utf-8")
    assert len(study.seeds) >= 3 or study.kind == "scaling"


def test_frontier_is_equal_in_bytes_at_every_size():
    arms, _ = arms_room.arms_of(study_file.load_study(FOLDER / "frontier.toml"))
    counter, of_size = Counter(), {}
    for arm in arms:
        room, _, size = arm.name.rpartition("-")
        if room not in ("feather", "ngram", "infinigram"):
            config = arm.model.build_config(arm.data.vocab_size)
            of_size.setdefault(size, []).append(counter.quickly(arm.model.family, config, "bytes"))
    assert len(of_size) == 3
    for touched in of_size.values():
        assert len(touched) == 10
        assert max(touched) / min(touched) < 1.01


def test_batches_see_the_same_tokens():
    arms, mismatch = arms_room.arms_of(study_file.load_study(FOLDER / "batch.toml"))
    tokens = {arm.model.train["num_steps"] * arm.model.train["batch_size"] * 256 for arm in arms}
    assert tokens == {2**19}
    assert {shares["tokens"] for shares in mismatch.values()} == {0}
