"""A flag that would do nothing is refused by name, whatever its value; without it the same command runs.

Oracle: the table below, made by reading what every verb does with every flag.
"""

from __future__ import annotations

import dataclasses

import pytest

from weightless.cli.conflicts import RULES, given, rules_of

CASES = [
    *(
        (("generate", "MODEL", "--beam", "2", f"--{flag}", value), f"--{flag}".replace("top-k", "top_k"), "--beam")
        for flag, value in (
            ("temperature", "0.8"),
            ("top_p", "0.5"),
            ("top-k", "0"),
            ("min_p", "0"),
            ("seed", "0"),
            ("repetition_penalty", "2"),
        )
    ),
    (("generate", "MODEL", "--alpha", "0.6"), "--alpha", "without --beam"),
    (("generate", "MODEL", "--tree", "2x8"), "--tree", "without --speculate"),
    (("generate", "MODEL", "--batch", "8"), "--batch", "without --prompts"),
    (("generate", "MODEL", "--prompts", "TEXT", "--prompt", ""), "--prompt", "--prompts"),
    (("eval", "MODEL", "--text", "TEXT", "--split", "val"), "--split", "--text"),
    (("eval", "MODEL", "--text", "TEXT", "--data", "DATA"), "--data", "--text"),
    (("train", "dense", "--data", "DATA", "--num_steps", "1", "--warmdown", "0.2"), "--warmdown", "wsd"),
    (
        ("train", "dense", "--data", "DATA", "--num_steps", "1", "--schedule", "constant", "--min_lr_ratio", "0.1"),
        "--min_lr_ratio",
        "constant",
    ),
    (
        ("train", "dense", "--data", "DATA", "--num_steps", "1", "--optimizer", "adamw", "--muon_lr", "0.02"),
        "--muon_lr",
        "optimizer muon",
    ),
    (("train", "dense", "--data", "DATA", "--num_steps", "1", "--optimizer=sgd", "--beta1=0.9"), "--beta1", "sgd"),
    (("train", "dense", "--data", "DATA", "--num_steps", "1", "--table_lr", "0.05"), "--table_lr", "lookup tables"),
    (
        ("train", "feather", "--data", "DATA", "--num_steps", "1", "--rows_2=0", "--rows_3=0", "--table_lr", "0.05"),
        "--table_lr",
        "lookup tables",
    ),
    (("train", "dense", "--data", "DATA", "--num_steps", "1", "--head_lr_scale", "1"), "--head_lr_scale", "embedding"),
    (("train", "dense", "--data", "DATA", "--num_steps", "1", "--clock", "wall"), "--clock", "seconds"),
    (
        ("train", "feather", "--data", "DATA", "--num_steps", "1", "--head", "full", "--n_classes", "9"),
        "--n_classes",
        "--head full",
    ),
    (("train", "dense", "--data", "DATA", "--num_steps", "1", "--vocab_size", "4096"), "--vocab_size", "320"),
    (("train", "dense", "--data", "DATA", "--num_steps", "1", "--text", "fables"), "other", "text"),
    (("count", "MODEL", "--tokens", "2048"), "--tokens", "--text"),
    (("count", "MODEL", "--verify", "--positions", "512"), "--positions", "--verify"),
    (("count", "gpt2-xl", "--mfu", "0.5"), "--mfu", "--flops_per_second"),
    (("count", "gpt2-xl", "--tokens", "1e9"), "--tokens", "--flops_per_second"),
    (("count", "dense", "--training", "--activations", "gated"), "--activations", "published"),
    (("count", "dense", "--flops", "--device_memory", "80GB"), "--device_memory", "--training"),
    (("count", "dense", "--training", "--causal"), "--causal", "--flops"),
    (("count", "dense", "--set", "d_model=64", "d-model=128"), "d-model", "twice"),
    (("fit", "dense", "--stored", "1MB", "--vocab", "4096", "--set", "vocab_size=512"), "--vocab", "--set vocab_size"),
    (("deck", "show", "--variant", "literal"), "--variant", "without a card"),
    (("golf", "check", "DATA", "--tokens", "5"), "--tokens", "without --data"),
    (("deck", "show", "kv", "--solution", "OUT", "--variant", "literal"), "--variant", "--solution"),
    (("launch", "--cpus", "1", "--", "tokenizer"), "--cpus", "--how local"),
    (("launch", "--how", "ray", "--mem_gb", "4", "--", "tokenizer"), "--mem_gb", "--how slurm"),
    (("launch", "--address", "auto", "--", "tokenizer"), "--address", "--how ray"),
    (("study", "STUDY", "--cpus", "1"), "--cpus", "--how local"),
    (("study", "STUDY", "--how", "ray", "--minutes", "240"), "--minutes", "--how slurm"),
    (("study", "STUDY", "--plan", "--parallel", "0"), "--parallel", "--plan"),
    (("study", "STUDY", "--report", "--seeds", "0"), "--seeds", "--report"),
    (("study", "STUDY", "--unit", "base/0", "--only", "base"), "--only", "--unit"),
    (("data", "prepare", "OUT", "--merge", "--text", "TEXT"), "--text", "--merge"),
    (
        ("data", "prepare", "OUT", "--text", "TEXT", "--tokenizer", "TOKENIZER", "--vocab_size", "4096"),
        "--vocab_size",
        "--tokenizer",
    ),
    (
        ("data", "prepare", "OUT", "--text", "TEXT", "--validation", "TEXT", "--val-fraction", "0.05"),
        "--val_fraction",
        "--validation",
    ),
    (("data", "prepare", "OUT", "--text", "TEXT", "--n_parallel", "0"), "--n_parallel", "--shards"),
    *(
        (("data", "prepare", "OUT", "--text", text, "--field", name), "--field", "without rows")
        for text, name in (("TEXT", "text"), ("fables", "body"), ("TEXT", ""))
    ),
    (("data", "prepare", "OUT", "--text", "TEXT", "--validation", "FOLDER", "--field", "story"), "--field", "rows"),
    (("tokenizer", "train", "TEXT", "--field", "story", "--out", "OUT"), "--field", "without rows"),
    (("tokenizer", "sweep", "TEXT", "--held_out", "TEXT", "--field", "story", "--out", "OUT"), "--field", "rows"),
    (("tokenizer", "compare", "TOKENIZER", "--text", "mine=TEXT", "fables", "--field", "story"), "--field", "rows"),
    (("data", "import", "DATA", "OUT", "--mask", "none", "--mask_means", "keep"), "--mask_means", "--mask none"),
    (("data", "import", "DATA", "OUT", "--column", "ids"), "--column", "parquet"),
    (
        ("data", "import", "DATA", "OUT", "--validation", "none", "--max_validation_tokens", "0"),
        "--max_validation_tokens",
        "--validation none",
    ),
    (("data", "import", "DATA", "OUT", "--end_of_text", "3"), "--end_of_text", "tokenizer"),
    (("tokenizer", "convert", "TOKENIZER", "OUT/t.json", "--pattern", "gpt2"), "--pattern", "holds its own"),
    (("tokenizer", "compare", "TOKENIZER", "--special", "<s>"), "--special", "hold their own"),
    (("tokenizer", "compare", "TOKENIZER", "--json", "--markdown"), "--markdown", "--json"),
    (("tokenizer", "sweep", "TEXT", "--json", "--markdown"), "--markdown", "--json"),
    (("eval", "MODEL", "--tokens", "-5"), "--tokens -5", "negative"),
    (("eval", "MODEL", "--stride", "-1"), "--stride -1", "negative"),
    (("eval", "MODEL", "--stride", "65"), "--stride 65", "64"),
    (("data", "inspect", "DATA", "--start", "-5"), "--start -5", "negative"),
    (("data", "inspect", "DATA", "--n", "-1"), "--n -1", "1"),
]


@pytest.mark.parametrize("words, flag, why", CASES, ids=lambda value: "" if isinstance(value, tuple) else value)
def test_a_flag_that_does_nothing_is_refused_by_name(command, small_run, tmp_path, words, flag, why):
    folder, _, text = small_run
    places = {
        "MODEL": folder / "models/dense/model.wl",
        "DATA": folder / "data",
        "TEXT": text,
        "TOKENIZER": folder / "data/tokenizer.json",
        "OUT": tmp_path / "out",
    }
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "a.txt").write_text("Some text.")
    places["FOLDER"] = tmp_path / "plain"
    words = [places[word] if word in places else word.replace("OUT", str(tmp_path / "out")) for word in words]
    words = [str(word).replace("mine=TEXT", f"mine={text}") for word in words]
    if words[0] == "train":
        words += ["--out", tmp_path / "out"]
    code, out, err = command(*words)
    assert code == 2 and out == "" and err.count("\n") == 1, err
    assert flag in err and why in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("field, n", [("story", 3), ("", 1)])
def test_a_field_is_taken_where_any_text_has_rows(command, tmp_path, field, n):
    """Oracle: three rows are three documents; without a field the file is one plain text."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("".join(f'{{"story": "Once upon {i} times {i}."}}\n' for i in range(3)))
    code, out, err = command(
        "data",
        "prepare",
        tmp_path / "out",
        "--text",
        tmp_path / "in",
        "--vocab_size",
        "260",
        "--val_fraction",
        "0",
        "--field",
        field,
    )
    assert code == 0 and f"train: {n} documents" in out, err


def test_the_same_training_command_goes_on_from_text_to_text(command, tmp_path, small_run):
    """--text and --vocab_size made the corpus, so the command that is given again is not refused."""
    words = [
        "train",
        "dense",
        "--data",
        tmp_path / "data",
        "--text",
        small_run[2],
        "--vocab_size",
        "300",
        "--d_model",
        "16",
        "--n_layers",
        "1",
        "--n_heads",
        "1",
        "--context",
        "32",
        "--num_steps",
        "2",
        "--batch_size",
        "2",
        "--eval_tokens",
        "64",
        "--out",
        tmp_path / "model",
        "--no_pack",
    ]
    assert command(*words)[0] == 0
    code, _, err = command(*words)
    assert code == 0, err


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (("count", "dense", "--set", "d_model=32", "--set", "n_layers=2"), "set"),
        (("generate", "model.wl", "--stop", "a", "--prompt", "b", "--stop=c"), "stop"),
        (("run", "demo", "--only", "ngram", "--only", "dense"), "only"),
        (("audit", "model.wl", "--expect", "bytes=1", "--expect", "tokens=2"), "expect"),
    ],
)
def test_a_flag_of_several_values_is_not_replaced_by_its_repetition(command, tmp_path, monkeypatch, words, flag):
    """`count dense --set d_model=32 --set n_layers=2` counted another model than the one asked for."""
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*words)
    assert code == 2 and f"--{flag} is given more than once" in err and f"--{flag} A B" in err and not out


def test_flags_are_known_however_they_are_written():
    words = ["verb", "--top-k", "3", "--seed=1", "--no-pack", "-5", "--", "--beam"]
    assert given(words) == {"top_k", "seed", "no_pack", "pack"}


def test_no_two_options_of_train_have_one_name():
    """Flags of the loop, of the family and of the verb stand side by side; `context` is the window of both, and the
    size of the vocabulary is what the corpus is made with."""
    from weightless.cli.train import TrainOptions
    from weightless.models.catalog import Trained, families, family
    from weightless.train.config import TrainConfig

    names = [{f.name for f in dataclasses.fields(kind)} for kind in (TrainConfig, TrainOptions)]
    assert not names[0] & names[1]
    for name in families():
        if isinstance(room := family(name), Trained):
            of_family = {f.name for f in dataclasses.fields(room.Config)}
            assert (of_family & names[0], of_family & names[1]) == ({"context"}, {"vocab_size"}), name


def test_every_rule_is_about_flags_that_exist():
    from weightless.cli import (
        accounting,
        artifact,
        audit,
        count,
        data_import,
        data_prepare,
        deck,
        fit,
        foreign,
        generate,
        golf,
        launch,
        pack,
        push,
        run,
        tokenizer_train,
        train,
        vocabulary_study,
    )
    from weightless.cli import study as lab_study
    from weightless.cli import tokenizer_study as study
    from weightless.models.catalog import Trained, families, family
    from weightless.train.config import TrainConfig

    rooms = [family(name) for name in families()]
    configs = [room.Config for room in rooms if isinstance(room, Trained)]
    of_training = set().union(*(vars(c)["__dataclass_fields__"] for c in (TrainConfig, train.TrainOptions, *configs)))
    options = {
        "generate": generate.Generate,
        "audit": audit.Audit,
        "pack": pack.Pack,
        "eval": artifact.Eval,
        "count": count.Count,
        "export": foreign.Export,
        "push": push.Push,
        "fit": fit.Fit,
        "count --training": accounting.Accounting,
        "deck show": deck.Show,
        "golf check": golf.Check,
        "launch": launch.Launch,
        "study": lab_study.Study,
        "data prepare": data_prepare.Prepare,
        "data import": data_import.Import,
        "tokenizer train": tokenizer_train.Train,
        "tokenizer study": vocabulary_study.Study,
        "tokenizer convert": study.Convert,
        "report": run.Report,
        "tokenizer compare": study.Compare,
        "tokenizer sweep": study.SweepOptions,
    }
    fields = {verb: set(cls.__dataclass_fields__) for verb, cls in options.items()} | {"train": of_training}
    assert set(RULES) == set(fields)
    for verb in RULES:
        for rule in rules_of(verb):
            assert set(rule.flags) <= fields[verb], (verb, rule.flags)
