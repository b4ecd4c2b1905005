"""A study file is strict and becomes the arms that it says.  Oracles: products written out by hand, and messages."""

from __future__ import annotations

import tomllib

import pytest
from study.small_study import STUDY

from weightless.base.errors import ConfigError
from weightless.study.arms import arms_of
from weightless.study.study_file import Point, study_of
from weightless.study.units import units_of
from weightless.study.working import check_question

TEXT = STUDY.format(text="fables", steps=4, seeds="[0, 1]", rates="[1e-3, 1e-2]")
BASE = TEXT.partition("[grid]")[0]


def arms(text):
    return arms_of(study_of(tomllib.loads(text)))[0]


def test_a_grid_is_the_whole_product_and_seeds_come_last(tmp_path):
    study = study_of(tomllib.loads(TEXT + '"config.norm" = ["pre", "none"]\n'))
    made = arms_of(study)[0]
    assert [arm.name for arm in made] == [f"max_lr={r}-norm={n}" for r in ("0.001", "0.01") for n in ("pre", "none")]
    assert made[1].setting == {"train.max_lr": 1e-3, "config.norm": "none"}
    assert (made[3].model.train["max_lr"], made[3].model.config["norm"]) == (1e-2, "none")
    assert [unit.name[-3:] for unit in units_of(study, made, tmp_path)] == ["-s0"] * 4 + ["-s1"] * 4


def test_arms_change_what_they_name_and_every_arm_has_a_value_for_it():
    first, second, third, table = arms(
        BASE
        + """
[[arm]]
name = "base"
[[arm]]
name = "faster"
"train.max_lr" = 1e-2
[[arm]]
name = "muon"
train = { optimizer = "muon" }
unset = ["train.checkpoint_every"]
[[arm]]
name = "table"
family = "ngram"
config.order = 3
"""
    )
    keys = ("train.max_lr", "train.optimizer", "config.order", "family")
    found = [tuple(arm.setting.get(key) for key in keys) for arm in (first, second, third, table)]
    assert found == [
        (3e-3, "adamw", None, "dense"),
        (1e-2, "adamw", None, "dense"),
        (3e-3, "muon", None, "dense"),
        (None, None, 3, "ngram"),
    ]
    assert "checkpoint_every" not in third.model.train and "checkpoint_every" in first.model.train
    assert table.model.config == {"context": 64, "order": 3} and not table.model.train
    assert "config.d_model" in table.notes[0] and "train.num_steps" in table.notes[0]


def test_a_tuned_arm_is_its_variants():
    made = arms(BASE + '[[arm]]\nname = "a"\n[arm.tune]\n"train.max_lr" = [1e-3, 2e-3]\n[[arm]]\nname = "b"\n')
    assert [(arm.name, arm.of) for arm in made] == [("a~max_lr=0.001", "a"), ("a~max_lr=0.002", "a"), ("b", "")]


def test_texts_may_be_varied():
    made = arms(BASE + '[grid]\n"data.source" = ["fables", "docs"]\n')
    assert [(arm.name, arm.data.source) for arm in made] == [("fables", "fables"), ("docs", "docs")]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[question]", "[qestion]", ("qestion", "question")),
        ('kind = "lr"', 'kind = "lrs"', ("lrs", "'lr'")),
        ('"train.max_lr"', '"train.maxlr"', ("train.maxlr", "max_lr")),
        ('"train.max_lr"', '"trian.max_lr"', ("grid.trian.max_lr", "train.max_lr")),
        ("[0.001, 0.01]", "[0.001, 0.001]", ("grid.train.max_lr", "twice")),
        ("[0.001, 0.01]", "[]", ("grid.train.max_lr", "empty")),
        ("[0.001, 0.01]", '["fast"]', ("train.max_lr", "float")),
        ('text = "Which rate?"', 'prediction = ["a < b", " "]', ("question.prediction[1]", "empty")),
        ("seeds = [0, 1]", "seeds = [0, 0]", ("seeds", "twice")),
        ("seeds = [0, 1]", "seeds = []", ("seeds", "empty")),
        ("d_model = 32", "d_model = 33", ("33",)),
        ("[grid]", '[controls]\nmatch = "none"\nmatsch = 1\n[grid]', ("controls.matsch", "match")),
        ("[grid]", '[[arm]]\nname = "a"\ntrian = { max_lr = 1e-3 }\n[grid]', ("trian", "train")),
        ("[grid]", '[[arm]]\nname = "a"\ntrain = { max_lr = 1e-3 }\n[grid]', ("train.max_lr", "both")),
        ("[grid]", '[[arm]]\nname = "a/b"\n[grid]', ("a/b", "letters")),
        ("[grid]", '[[arm]]\nname = "a"\nunset = ["train.warmup"]\n[grid]', ("unset", "train.warmup")),
        ("[grid]", '[[arm]]\nname = "a"\nfamily = "dens"\n[grid]', ("dens", "dense")),
        (
            "[grid]",
            "[search]\ntrials = 2\n[search.parameters]\n'train.max_lr' = {low = 1e-4}\n[grid]",
            ("low and high",),
        ),
        ("[0.001, 0.01]", str([1e-3 / n for n in range(1, 2002)]), ("2,001 arms",)),
        ("max_lr", "seed", ("seeds = [0, 1, 2]",)),
    ],
)
def test_what_cannot_be_is_told_by_name(old, new, words):
    text = TEXT.replace("[1e-3, 1e-2]", "[0.001, 0.01]")
    assert old in text
    with pytest.raises(ConfigError) as error:
        arms(text.replace(old, new))
    assert all(word in str(error.value) for word in words), error.value


def test_whole_numbers_stay_whole_in_a_search():
    text = BASE + '[search]\ntrials = 2\n[search.parameters]\n"train.batch_size" = { low = 1, high = 8 }\n'
    search = study_of(tomllib.loads(text)).search
    assert search is not None and repr(search.parameters["train.batch_size"].low) == "1"


def test_what_base_says_for_nobody_is_told():
    assert arms(TEXT.replace('optimizer = "adamw"', "max_lr = 1.0"))[0].notes == (
        "base.train.max_lr does nothing: every arm says it",
    )


def test_the_file_of_the_handbook_is_a_study(request):
    shown = (request.config.rootpath / "docs/lab.md").read_text().split("```toml\n")[1].partition("```")[0]
    names = [arm.name for arm in arms(shown)]
    assert names[:3] == ["base", "no_norm", "no_norm_fast"] and len(names) == 5


def test_a_study_of_vocabularies_is_sent_to_its_own_verb(request):
    path = request.config.rootpath / "recipes/studies/vocabulary.toml"
    with pytest.raises(ConfigError, match="tokenizer study"):
        study_of(tomllib.loads(path.read_text()))


def test_points_that_laws_are_asked_for():
    point = '{ family = "dense", parameters = 1e8, tokens = 10000000000 }'
    asked = BASE.replace('kind = "lr"', 'kind = "scaling"') + f"[scaling]\nat = [{point}, {{ tokens = 2.0 }}]\n"
    assert study_of(tomllib.loads(asked)).scaling.at == (Point(1e10, 1e8, "dense"), Point(2.0))
    for old, new, words in (
        ("tokens = 1", "token = 1", "unknown key .*token'.*tokens"),
        ("parameters = 1e8", "parameters = inf", "parameters = inf should be above 0"),
        ("tokens = 2.0", "tokens = 0.0", "tokens = 0.0 should be above 0"),
        ("tokens = 2.0", "", "missing key .*tokens"),
        ('kind = "scaling"', 'kind = "lr"', "scaling.at asks laws"),
    ):
        with pytest.raises(ConfigError, match=words):
            study_of(tomllib.loads(asked.replace(old, new)))


def test_points_of_a_family_that_no_arm_has_are_refused():
    asked = BASE.replace('kind = "lr"', 'kind = "scaling"') + '[scaling]\nat = [{ family = "dence", tokens = 2.0 }]\n'
    study = study_of(tomllib.loads(asked))
    with pytest.raises(ConfigError, match="no arm is of family 'dence'.*dense"):
        check_question(study, arms_of(study)[0])
