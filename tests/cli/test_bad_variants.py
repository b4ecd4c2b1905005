"""A variant that cannot be, or a field that would do nothing, is refused in one line that names it and says what to do.

Oracle: the table below, made by reading what every field of dense and experts does beside the others.
"""

from __future__ import annotations

import pytest

CASES = [
    ("dense", "window=0", ["window = 0", "1..512", "leave it out"]),
    ("dense", "window=-3", ["window = -3", "leave it out"]),
    ("dense", "window=513", ["window = 513", "1..512", "leave it out"]),
    ("dense", "window=8 window_pattern=SXL", ["window_pattern 'SXL'", "'X'", "S (window)", "L (everything)"]),
    ("dense", "window_pattern=SSSL", ["window_pattern 'SSSL'", "window = 128"]),
    ("dense", "window=8 window_pattern=LL", ["window = 8", "no layer", "'LL'"]),
    ("dense", "window=8 window_pattern=LLLLS", ["window = 8", "no layer", "4 layers"]),
    ("dense", "d_model=15 n_heads=5", ["d_model 15", "even width"]),
    ("dense", "softcap=0", ["softcap = 0", "leave it out"]),
    ("dense", "softcap=-2", ["softcap = -2", "above 0"]),
    ("dense", "softcap=nan", ["softcap = nan", "above 0"]),
    ("dense", "softcap=inf", ["softcap = inf", "below 1e6"]),
    ("dense", "softcap=1e9", ["softcap = 1e+09", "below 1e6"]),
    ("dense", "d_embed=256", ["d_embed 256", "below d_model 256", "0 means"]),
    ("dense", "d_embed=-1", ["d_embed = -1", "0 means none"]),
    ("dense", "value_every=5", ["value_every = 5", "4 layers"]),
    ("dense", "value_every=-1", ["value_every = -1", "0 means none"]),
    ("dense", "bigram_rows=-1", ["bigram_rows = -1", "0 means none"]),
    ("dense", "head=class", ["tied = false", "'class'"]),
    ("dense", "head=class3 tied=true", ["tied = false", "'class3'"]),
    ("dense", "head=class tied=false softcap=30", ["softcap", "full head", "'class'"]),
    ("dense", "n_classes=9", ["n_classes", "full", "leave them out"]),
    ("dense", "classes_by=frequency", ["classes_by", "full", "leave them out"]),
    ("feather", "head=full n_classes=9", ["n_classes", "full", "leave them out"]),
    ("dense", "q_gain=nan", ["q_gain = nan", "0 (none)"]),
    ("dense", "q_gain=-1", ["q_gain = -1", "0 (none)"]),
    ("dense", "norm=psot", ["norm = 'psot'", "'post'"]),
    ("dense", "positions=lerned", ["positions = 'lerned'", "'learned'"]),
    ("dense", "match_d_ff=true", ["match_d_ff", "swiglu", "leave it out"]),
    ("dense", "positions=none rope_theta=500", ["rope_theta", "'none'", "leave it out"]),
    ("dense", "positions=learned rope_theta=500", ["rope_theta", "'learned'", "leave it out"]),
    ("dense", "exit_threshold=1.01 exit_after=[2]", ["exit_threshold = 1.01", "at most 1", "leave it out"]),
    ("dense", "exit_threshold=0 exit_after=[2]", ["exit_threshold = 0", "above 0"]),
    ("dense", "exit_threshold=nan exit_after=[2]", ["exit_threshold = nan", "above 0"]),
    ("dense", "exit_after=[0]", ["exit_after = [0]", "1 to 3"]),
    ("dense", "exit_after=[4]", ["exit_after = [4]", "1 to 3", "behind the last is the head"]),
    ("dense", "exit_after=[3,1]", ["exit_after = [3, 1]", "in order"]),
    ("dense", "exit_after=[2,2]", ["exit_after = [2, 2]", "each once"]),
    ("dense", "exit_threshold=0.5", ["exit_threshold", "exit_after = [2]"]),
    ("dense", "exit_weight=0.5", ["exit_weight", "exit_after = [2]"]),
    ("dense", "exit_threshold=0.5 exit_after=[2] exit_loss=0.1", ["exit_loss", "exit_threshold", "one of them"]),
    ("dense", "exit_loss=-1 exit_after=[2]", ["exit_loss = -1", "0 to 1e6"]),
    ("experts", "exit_weight=inf exit_after=[2]", ["exit_weight = inf", "0 to 1e6"]),
    ("experts", "exit_after=[9]", ["exit_after = [9]", "1 to 3"]),
    ("dense", "window_cache=-1", ["window_cache = -1", "0..6"]),
    ("ngram", "window_cache=7", ["window_cache = 7", "0..6"]),
    ("ngram", "window_cache=5 context=4 order=3", ["window_cache = 5", "context of 4", "at most 4"]),
    ("feather", "window_cache=true", ["window_cache", "int"]),
    ("experts", "top_k=17", ["top_k = 17", "16 experts", "fewer"]),
    ("experts", "top_k=0", ["top_k = 0", "at least 1"]),
    ("experts", "n_experts=0", ["n_experts = 0", "at least 1"]),
    ("experts", "d_shared=-1", ["d_shared = -1", "at least 0"]),
    ("experts", "d_shared=99999999", ["expert of width 99999999", "d_shared", "scratch"]),
    ("experts", "d_expert=99999999", ["expert of width 99999999", "d_shared", "scratch"]),
    ("experts", "n_kv_heads=3", ["n_kv_heads", "n_heads"]),
    ("experts", "d_model=12", ["n_heads 4", "even"]),
    ("experts", "balance_weight=nan", ["balance_weight = nan", "0 to 1e6"]),
    ("experts", "balance=bias balance_weight=0.5", ["balance_weight = 0.5", "balance = 'loss'"]),
    ("feather", "layer_pattern=AX", ["layer_pattern 'AX'", "'X'", "A (attention)", "N (nothing)"]),
    ("feather", "layer_pattern=AAS", ["layer_pattern 'AAS'", "1 to 2 letters"]),
    ("feather", "layer_pattern=W", ["layer_pattern 'W'", "window = 128"]),
    ("feather", "window=64", ["window = 64", "layers W", "leave it out"]),
    ("feather", "layer_pattern=W window=513", ["window = 513", "1..512"]),
    ("feather", "layer_pattern=W window=0", ["window = 0", "1..512"]),
    ("feather", "d_state=60", ["d_state = 60", "scans (S)", "leave it out"]),
    ("feather", "conv=3", ["conv = 3", "scans (S)", "leave it out"]),
    ("feather", "layer_pattern=S conv=5", ["conv = 5", "2..4"]),
    ("feather", "layer_pattern=S d_state=-1", ["d_state = -1", "d_model"]),
    ("feather", "layer_pattern=S n_heads=2", ["n_heads = 2", "neither A nor W", "leave it out"]),
    ("feather", "layer_pattern=N kv_format=bf16", ["kv_format = 'bf16'", "neither A nor W"]),
    ("feather", "top_k=2", ["top_k = 2", "n_experts = 0", "leave it out"]),
    ("feather", "d_shared=9", ["d_shared = 9", "n_experts = 0", "leave it out"]),
    ("feather", "n_experts=4 top_k=5", ["top_k = 5", "4 experts"]),
    ("feather", "n_experts=-1", ["n_experts = -1", "0 (none)"]),
    ("feather", "head=class4", ["head = 'class4'", "'class'"]),
    ("golf", "n_layers=0", ["n_layers = 0", "at least 1"]),
    ("golf", "d_ff=-2", ["d_ff = -2", "twice d_model"]),
    ("golf", "n_heads=3", ["n_heads 3", "even width"]),
    ("golf", "n_kv_heads=3", ["n_kv_heads 3", "evenly"]),
    ("golf", "q_gain=0", ["q_gain = 0", "1.5 is usual"]),
    ("golf", "softcap=nan", ["softcap = nan", "30 is usual"]),
    ("golf", "embed_std=inf", ["embed_std = inf", "0.005 is usual"]),
    ("golf", "eps=0", ["eps = 0", "1e-5 is usual"]),
    ("llama", "rope_stretch=0.5", ["rope_stretch = 0.5", "1 means none"]),
    ("llama", "rope_stretch=nan", ["rope_stretch = nan", "1 means none"]),
    ("llama", "rope_learned=63", ["rope_learned", "rope_stretch = 1", "leave them out"]),
    ("llama", "rope_stretch=8 rope_low=4", ["rope_low = 4", "rope_high = 4", "above the first"]),
    ("llama", "rope_stretch=8 rope_low=-1", ["rope_low = -1", "above 0"]),
    ("llama", "rope_stretch=8 rope_high=inf", ["rope_high = inf"]),
    ("llama", "rope_stretch=8 rope_learned=0", ["rope_learned = 0", "1..2147483647"]),
    ("golf", "rope_theta=1", ["rope_theta = 1", "above 1"]),
    ("golf", "kv_format=int4", ["kv_format = 'int4'", "int8"]),
    ("experts", "balance=none balance_weight=0", ["balance_weight = 0", "balance = 'loss'"]),
    ("scan", "layer_pattern=SSX", ["layer_pattern 'SSX'", "'X'", "S (scan)", "A (attention)"]),
    ("scan", "layer_pattern=A", ["layer_pattern 'A'", "no scan", "family dense"]),
    ("scan", "layer_pattern=AAAAAAS", ["no scan (S) in 4 layers"]),
    ("scan", "d_state=0", ["d_state = 0", "at least 1"]),
    ("scan", "conv=0", ["conv = 0", "2..4", "leave it out"]),
    ("scan", "conv=1", ["conv = 1", "2..4", "leave it out"]),
    ("scan", "conv=5", ["conv = 5", "2..4", "leave it out"]),
    ("scan", "n_heads=4", ["n_heads = 4", "attention", "leave it out"]),
    ("scan", "kv_format=int8", ["kv_format = 'int8'", "attention", "leave it out"]),
    ("scan", "rope_theta=500", ["rope_theta = 500", "attention", "leave it out"]),
    ("scan", "layer_pattern=SA n_heads=3", ["n_heads 3", "d_model"]),
    ("scan", "layer_pattern=SA n_kv_heads=3", ["n_kv_heads", "n_heads"]),
    ("scan", "n_heads=-1", ["n_heads", "negative"]),
    ("scan", "n_scan_heads=-1 kind=delta", ["n_scan_heads = -1", "negative"]),
    ("scan", "n_scan_heads=2", ["n_scan_heads = 2", "gated and delta", "leave it out"]),
    ("scan", "chunk=7", ["chunk = 7", "gated and delta", "leave it out"]),
    ("scan", "state_format=bf16", ["state_format = 'bf16'", "gated and delta", "leave it out"]),
    ("scan", "kind=delta chunk=0", ["chunk = 0", "at least 1"]),
    ("scan", "kind=delta n_scan_heads=3", ["d_state 256", "3 n_scan_heads"]),
    ("scan", "d_state=99999999", ["99999999", "d_state"]),
    ("memory", "n_slots=4097", ["n_slots = 4097", "64 keys address 4096", "4225"]),
    ("memory", "n_slots=0", ["n_slots = 0", "at least 1"]),
    ("memory", "n_slots=16777216", ["4096 x 4096 slots", "2 heads"]),
    ("memory", "n_slots=99999999999999999999", ["n_slots = 99999999999999999999", "address"]),
    ("memory", "top_k=65", ["top_k = 65", "64 half-keys", "fewer"]),
    ("memory", "top_k=17 n_slots=16", ["top_k = 17", "4 half-keys of 16 slots"]),
    ("memory", "top_k=0", ["top_k = 0", "at least 1"]),
    ("memory", "top_k=1", ["top_k = 1", "softmax", "gating = sigmoid"]),
    ("memory", "memory_heads=0", ["memory_heads = 0", "at least 1"]),
    ("memory", "d_key=31", ["d_key = 31", "even"]),
    ("memory", "d_key=2 weight_format=int4", ["d_key = 2", "int4"]),
    ("memory", "memory_every=5", ["memory_every = 5", "4 layers"]),
    ("memory", "neuron=silu", ["neuron = 'silu'", "'neurons'", "leave it out"]),
    ("memory", "memory_every=1 d_ff=90", ["d_ff", "memory_every = 1", "leave it out"]),
    ("memory", "memory_every=1 activation=relu2", ["activation", "memory_every = 1", "leave it out"]),
    ("memory", "n_kv_heads=3", ["n_kv_heads", "n_heads"]),
    ("recurrent", "passes=0", ["passes = 0", "at least 1"]),
    ("recurrent", "passes=-1", ["passes = -1", "at least 1"]),
    ("recurrent", "passes=1", ["passes = 1", "iteration = false"]),
    ("recurrent", "passes=2049", ["passes = 2049", "4098 blocks", "fewer"]),
    ("recurrent", "passes=99999999999999999999", ["passes = 99999999999999999999", "fewer"]),
    ("recurrent", "prelude=-1", ["prelude = -1", "at least 0"]),
    ("recurrent", "coda=-2", ["coda = -2", "at least 0"]),
    ("recurrent", "n_layers=0", ["n_layers = 0", "at least 1"]),
    ("recurrent", "n_layers=4097", ["n_layers 4097", "4096"]),
    ("recurrent", "n_heads=3", ["n_heads 3", "d_model"]),
]

CHOICES = [
    ("scan", "kind=diagnal", ["kind = 'diagnal'", "'diagonal'"]),
    ("memory", "kind=neuron", ["kind = 'neuron'", "'neurons'"]),
    ("scan", "kind=gated state_format=int8", ["state_format = 'int8'", "bf16"]),
]
"""Refused as one of a list: on a command line by its parser, in a box of its own."""


def assert_refused(result, words):
    code, _, err = result
    assert code == 2 and len(err.splitlines()) == 1, err
    assert all(word in err for word in words), err


@pytest.mark.parametrize(("name", "pairs", "words"), [*CASES, *CHOICES])
def test_the_counter_refuses_it(name, pairs, words, command):
    assert_refused(command("count", name, "--set", *pairs.split()), words)


def is_a_misspelt_choice(pairs, words):
    """Flags refuse those themselves, in the parser's own frame of several lines."""
    name, value = pairs.split()[0].split("=")
    return f"{name} = '{value}'" in words


@pytest.mark.parametrize(("name", "pairs", "words"), [c for c in CASES[::7] if not is_a_misspelt_choice(*c[1:])])
def test_train_refuses_it_before_a_corpus_is_made(name, pairs, words, command, tmp_path):
    flags = [word for pair in pairs.split() for word in _flag(*pair.split("="))]
    result = command("train", name, "--data", tmp_path / "data", "--out", tmp_path / "out", *flags)
    flagged = [pair.split("=")[0] for pair in pairs.split() if f"--{pair.split('=')[0]} " in result[2]]
    assert_refused(result, flagged[:1] or words)  # the flag, where the parser refuses it in its own words
    assert not (tmp_path / "data").exists()


def _flag(name, value):
    if value.startswith("["):
        return [f"--{name}", *value.strip("[]").split(",")]
    return {"true": [f"--{name}"], "false": [f"--no-{name}"]}.get(value, [f"--{name}={value}"])


@pytest.mark.parametrize(("name", "pairs", "words"), CASES[3::7])
def test_a_recipe_refuses_it_before_anything_is_written(name, pairs, words, command, tmp_path):
    lines = [
        pair if pair.split("=")[1] in ("true", "false") or _is_plain(pair) else _quoted(pair) for pair in pairs.split()
    ]
    (tmp_path / "r.toml").write_text(
        f'name = "r"\n[data]\nsource = "fables"\n[[model]]\nname = "m"\nfamily = "{name}"\n[model.config]\n'
        + "\n".join(lines)
    )
    assert_refused(command("run", tmp_path / "r.toml", "--out", tmp_path / "out"), words)
    assert not (tmp_path / "out").exists()


def _is_plain(pair):
    """A number or a list of them."""
    try:
        [float(word) for word in pair.split("=")[1].strip("[]").split(",")]
    except ValueError:
        return False
    return True


def _quoted(pair):
    name, value = pair.split("=")
    return f'{name} = "{value}"'


@pytest.mark.parametrize(
    ("family", "flag"),
    [
        ("dense", "--bigram_rows=99999999999999999999"),
        ("dense", "--bigram_rows=9999999999999"),
        ("feather", "--rows_3=99999999999999999999"),
    ],
)
def test_train_refuses_tables_that_no_machine_holds(family, flag, command, tmp_path, small_run):
    for data in (tmp_path / "data", small_run[0] / "data"):  # one to be made, one that is there
        result = command("train", family, "--data", data, "--out", tmp_path / "out", "--num_steps", "1", flag)
        assert_refused(result, ["weights", "this machine has", "make it smaller"])
        assert not (tmp_path / "data").exists() and not list((tmp_path / "out").glob("*.toml"))


@pytest.mark.parametrize(
    "pairs",
    [
        "window=512",
        "window=1",
        "window=8 window_pattern=LS",
        "match_d_ff=true activation=gelu",
        "q_gain=1.5",
        "positions=none",
        "head=class tied=false classes_by=frequency",
    ],
)
def test_what_stands_beside_it_is_taken(pairs, command):
    assert command("count", "dense", "--set", *pairs.split())[0] == 0


@pytest.mark.parametrize(
    ("family", "flags", "idle", "words"),
    [
        ("dense", ["--positions", "none", "--rope_theta", "10000"], "--rope_theta", "rotary"),
        ("dense", ["--positions=learned", "--rope-theta=10000"], "--rope_theta", "rotary"),
        ("dense", ["--no-match-d-ff"], "--match_d_ff", "--activation swiglu"),
        ("dense", ["--classes_by", "context"], "--classes_by", "--head full"),
        ("feather", ["--window", "512"], "--window", "layer_pattern W"),
        ("feather", ["--layer_pattern", "S", "--d_head", "64"], "--d_head", "layer_pattern A or W"),
        ("feather", ["--d_state", "0"], "--d_state", "layer_pattern S"),
        ("feather", ["--top-k", "1"], "--top_k", "--n_experts"),
        ("experts", ["--balance", "bias", "--balance_weight", "0.01"], "--balance_weight", "--balance loss"),
        ("experts", ["--balance=none", "--balance-weight=0.01"], "--balance_weight", "--balance loss"),
        ("scan", ["--chunk", "64"], "--chunk", "--kind gated or delta"),
        ("scan", ["--kind=delta", "--kv_format=bf16"], "--kv_format", "--layer_pattern"),
        ("memory", ["--neuron=gelu"], "--neuron", "--kind neurons"),
        ("memory", ["--memory-every=1", "--d-ff=512"], "--d_ff", "--memory_every 1"),
    ],
)
def test_an_idle_flag_is_refused_even_with_its_default(family, flags, idle, words, command, tmp_path):
    result = command(
        "train", family, "--data", tmp_path / "data", "--out", tmp_path / "out", "--num_steps", "1", *flags
    )
    assert_refused(result, [f"{idle} does nothing", words, "leave it out"])
