"""Windows scored in batches beside the same windows stepped: the engine is the oracle, target by target.

Tolerances as in test_scoring.py: 3e-5 nats per token in float32 (sums in another order, of models with large weights);
where a cache is rounded, single tokens of these small random models move by up to 0.03 nats when a code does.
"""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from contract.cases import CASES, bench

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.saved_work import SavedWork
from weightless.cli.main import main
from weightless.data.batches.packing import IGNORED
from weightless.evals import batched, batched_products
from weightless.evals.batched import Batching, padded, score_batched
from weightless.evals.batched_products import ScoringProducts
from weightless.evals.bits_per_byte import chosen_windows, evaluate, windows
from weightless.evals.scoring import score_windows
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.layers.stack import StackModel

EXACT, ROUNDED = 3e-5, 0.03
SCORED = [
    ("dense", "untied_gqa_silu_f32"),
    ("dense", "untied_mqa_relu2_bf16"),
    ("golf", next(iter(CASES["golf"]))),
    ("feather", next(iter(CASES["feather"]))),
    ("scan", next(iter(CASES["scan"]))),
    ("recurrent", next(iter(CASES["recurrent"]))),
]
REFUSED = [
    ("dense", "cached", "counts of its window"),
    ("dense", "exits_after_two_blocks", "'exit_test' ends each token"),
    ("ngram", "order_2", "a table of counts"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{case: an opened artifact}."""
    folder, found = tmp_path_factory.mktemp("packed"), {}
    for name, case in [*SCORED, *((name, case) for name, case, _ in REFUSED)]:
        b = bench(name, case)
        pack(folder / f"{name}_{case}.wl", name, b.config, b.arrays)
        found[name, case] = open_packed(folder / f"{name}_{case}.wl")
    return found


@pytest.fixture
def plain(models):
    return models["dense", "untied_gqa_silu_f32"]


def stream(packed, n: int = 151, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, packed.program.vocab_size, n)


def believed(*given):
    """A judge that is not asked."""


def scored(packed, tokens, batching=None, n_threads: int = 2, stride: int = 5) -> np.ndarray:
    todo = chosen_windows(len(tokens), packed.program.context, stride, 0)
    return score_batched(packed, tokens, todo, todo[:1], believed, n_threads, "testing", batching or Batching(3))[0]


@pytest.mark.parametrize("name, case", SCORED, ids=[name for name, _ in SCORED])
def test_batches_give_the_nats_of_every_target(models, monkeypatch, name, case):
    """Windows side by side, overlapping, and in stretches of a sample; attention in stretches of seven."""
    monkeypatch.setattr(batched_products, "STRETCH", 7)
    packed = models[name, case]
    tokens, context = stream(packed), packed.program.context
    for stride, limit, stretch in ((context, 0, 0), (5, 0, 0), (3, 40, 50)):
        todo = chosen_windows(len(tokens), context, min(stride, context), limit, stretch)
        ours = score_windows(packed, tokens, todo, 2, "testing", "batched", Batching(3))
        engine = score_windows(packed, tokens, todo, 2, "testing", "stepped")
        kept = {name for op in packed.program.body for name in op.kept()}
        exact = all(packed.program.by_name[name].format in ("f32", "u32") for name in kept)
        np.testing.assert_allclose(ours.nats, engine.nats, rtol=0, atol=EXACT if exact else ROUNDED)
        np.testing.assert_array_equal(ours.positions, engine.positions)
        assert ours.path == "batched" and not ours.data.any()
        assert ours.checked and ours.checked.n_targets > 0 and ours.decoded_per_second > 0


@pytest.mark.parametrize("n", [2, 33, 34, 151])
def test_all_strides_score_every_target_once(n):
    """Oracle: the tokens themselves, 1 .. n - 1, each once, behind the tokens that precede it in the text."""
    tokens = np.arange(n) + 1000
    for stride in range(1, 34):
        for size in (1, 4):
            todo, seen = windows(n, 33, stride), []
            for i in range(0, len(todo), size):
                fed_BT, targets_BT = padded(tokens, todo[i : i + size])
                where = targets_BT != IGNORED
                np.testing.assert_array_equal(fed_BT[where] + 1, targets_BT[where])
                assert all(np.array_equal(row[: first_pad(row)], row[0] + np.arange(first_pad(row))) for row in fed_BT)
                seen += targets_BT[where].tolist()
            assert seen == tokens[1:].tolist()


def first_pad(row: np.ndarray) -> int:
    return int(np.argmax(row == 0)) if (row == 0).any() else len(row)


@pytest.mark.parametrize("T, H, G, K", [(601, 6, 3, 10), (257, 4, 4, 16), (256, 2, 1, 8)])
def test_attention_in_stretches_is_attention(T, H, G, K):
    """Oracle: PyTorch's own over all positions; float32 sums of at most 601 terms of size 1."""
    q, k, v = (torch.randn(2, T, n, K, generator=torch.Generator().manual_seed(n)) for n in (H, G, G))
    q, k, v = (z.transpose(1, 2) for z in (q, k, v))
    wanted = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=G != H)
    with ScoringProducts():
        found = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=G != H)
    torch.testing.assert_close(found, wanted, rtol=0, atol=3e-6)


@pytest.mark.parametrize("T, H, G, K", [(601, 6, 3, 10), (257, 4, 4, 16), (385, 2, 1, 8)])
def test_attention_in_bf16_is_near_attention_and_sees_nothing_ahead(T, H, G, K):
    """Oracle: PyTorch's own in float64.  Of sizes of 1, rounded to 2^-9: scores by at most about 4 x 2^-9 x 4, shares
    by as much relatively, sums of values once more; what lies ahead moves no bit."""
    q, k, v = (torch.randn(2, T, n, K, generator=torch.Generator().manual_seed(n)) for n in (H, G, G))
    q, k, v = (z.transpose(1, 2) for z in (q, k, v))
    wanted = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), is_causal=True, enable_gqa=G != H)
    with ScoringProducts(bf16=True):
        found = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=G != H)
        ql, kl, vl = (torch.cat([z[:, :, : T // 2], torch.full_like(z[:, :, T // 2 :], 7.0)], 2) for z in (q, k, v))
        same = F.scaled_dot_product_attention(ql, kl, vl, is_causal=True, enable_gqa=G != H)
    difference = (found - wanted).abs()
    assert found.dtype == torch.float32 and 1e-5 < difference.max() < 0.06 and difference.mean() < 0.004
    torch.testing.assert_close(same[:, :, : T // 2], found[:, :, : T // 2], rtol=0, atol=0)


def test_products_in_bf16_are_near_and_are_in_bf16(plain):
    tokens = stream(plain, 300)
    exact, rough = (scored(plain, tokens, Batching(3, autocast=kind)) for kind in ("none", "bf16"))
    assert 1e-3 < np.abs(exact - rough).max() < 0.3 and abs(exact.sum() - rough.sum()) / 299 < 0.01
    x, w = torch.randn(3, 40), torch.randn(5, 40).bfloat16()
    with ScoringProducts():
        y = F.linear(x, w)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, x.bfloat16().float() @ w.float().T, rtol=2**-7, atol=1e-3)


def test_nats_do_not_hang_on_the_number_of_threads(plain):
    tokens = stream(plain)
    np.testing.assert_array_equal(scored(plain, tokens, n_threads=1), scored(plain, tokens, n_threads=3))


@pytest.mark.slow
def test_compiled_layers_give_the_nats_of_every_target(models, monkeypatch):
    """One shape of batch, whatever the windows are: one graph; two threads run it."""
    packed = models["golf", SCORED[2][1]]
    tokens = stream(packed)
    wanted, runs = scored(packed, tokens), []
    original = batched._Work._losses
    monkeypatch.setattr(batched._Work, "_losses", lambda self, batch: runs.append(batch) or original(self, batch))
    found = scored(packed, tokens, Batching(3, compile=True))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=ROUNDED)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1 and len(runs) > 3


def test_compile_without_a_compiler_is_refused(plain, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="needs a C\\+\\+ compiler"):
        scored(plain, stream(plain), Batching(3, compile=True))


@pytest.mark.parametrize("name, case, told", REFUSED, ids=[told for _, _, told in REFUSED])
def test_what_cannot_be_scored_in_batches_is_refused_by_name(models, name, case, told):
    packed = models[name, case]
    with pytest.raises(ConfigError, match=f"{name} cannot be scored in batches, because .*{told}"):
        evaluate(packed, stream(packed), None, path="batched")


def test_batches_that_give_other_nats_are_refused_before_the_rest_is_scored(plain, monkeypatch):
    rows, original = [], StackModel.losses

    def wrong(self, p, x_BT, y_BT):
        rows.append(len(x_BT))
        return original(self, p, x_BT, y_BT) + 0.05

    monkeypatch.setattr(StackModel, "losses", wrong)
    with pytest.raises(WeightlessError, match=r"are not those of its engine \(33 targets stepped"):
        evaluate(plain, stream(plain, 1000), None, path="batched", n_threads=1, batching=Batching(2))
    assert rows == [1, 2], "a warm-up, and the one batch that is judged"


def test_a_small_difference_in_all_targets_is_seen_in_the_mean(models, monkeypatch):
    """0.01 nats lie within the room of a target whose cache is rounded, and not within that of the mean."""
    packed, original = models["dense", "untied_mqa_relu2_bf16"], StackModel.losses
    monkeypatch.setattr(StackModel, "losses", lambda *given: original(*given) + 0.01)
    with pytest.raises(WeightlessError, match="are not those of its engine"):
        evaluate(packed, stream(packed), None, path="batched")


def test_foreign_ids_are_told(plain):
    tokens = stream(plain)
    tokens[77] = plain.program.vocab_size
    with pytest.raises(ConfigError, match="vocabulary"):
        evaluate(plain, tokens, None, path="batched")


class Killed(BaseException):
    """As kill -9 leaves it: nothing behind it is done."""


@pytest.fixture
def dying(monkeypatch):
    """`dying(n)`: every batch is saved, and the n-th and all behind it end the work; counts those that were done."""
    monkeypatch.setattr(SavedWork, "is_due", lambda self: True)
    original, done = batched._Work._losses, []

    def made(n, how):
        done.clear()

        def losses(self, batch):
            if len(done) > n:  # the first is the warm-up
                how()
            done.append(batch)
            return original(self, batch)

        monkeypatch.setattr(batched._Work, "_losses", losses)
        return done

    return made


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("at", [1, 2, 7])
def test_a_killed_scoring_goes_on_to_the_same_bits(plain, tmp_path, dying, at):
    tokens, file = stream(plain), tmp_path / "nats.part"
    wanted, batching = scored(plain, tokens), Batching(3, resume=str(file))
    dying(at, kill)
    with pytest.raises(Killed):
        scored(plain, tokens, batching, n_threads=1)
    assert file.exists() and [path.name for path in tmp_path.iterdir()] == [file.name]
    done = dying(10_000, kill)
    np.testing.assert_array_equal(scored(plain, tokens, batching), wanted)
    n_batches = -(-len(windows(151, plain.program.context, 5)) // 3)
    assert len(done) == 1 + n_batches - at and not file.exists()


def test_an_interrupt_saves_what_there_is(plain, tmp_path, dying, monkeypatch):
    tokens, file = stream(plain), tmp_path / "nats.part"
    wanted, batching = scored(plain, tokens), Batching(3, resume=str(file))
    done = dying(3, lambda: os.kill(os.getpid(), signal.SIGINT))
    monkeypatch.setattr(SavedWork, "is_due", lambda self: False)
    with pytest.raises(KeyboardInterrupt):
        scored(plain, tokens, batching, n_threads=1)
    n_before = len(done)
    assert file.exists() and n_before < 12
    dying(10_000, kill)
    np.testing.assert_array_equal(scored(plain, tokens, batching), wanted)


def test_damage_is_told_and_other_work_is_refused(plain, models, tmp_path, dying, capsys):
    tokens, file = stream(plain), tmp_path / "nats.part"
    wanted, batching = scored(plain, tokens), Batching(3, resume=str(file))
    dying(4, kill)
    with pytest.raises(Killed):
        scored(plain, tokens, batching, n_threads=1)
    saved = file.read_bytes()
    dying(10_000, kill)
    for at in (20, 40, len(saved) // 2, len(saved) - 14, len(saved) - 3):
        for damaged in (saved[:at], saved[:at] + bytes([saved[at] ^ 64]) + saved[at + 1 :]):
            file.write_bytes(damaged)
            capsys.readouterr()
            np.testing.assert_array_equal(scored(plain, tokens, batching), wanted)
            assert "begins anew" in capsys.readouterr().err
    others = [
        (plain, tokens[:-1], batching, "tokens, windows"),
        (plain, tokens, Batching(4, resume=str(file)), "windows per batch"),
        (plain, tokens, Batching(3, autocast="bf16", resume=str(file)), "autocast"),
        (models["dense", "untied_mqa_relu2_bf16"], tokens, batching, "artifact"),
    ]
    for packed, text, asked, told in others:
        file.write_bytes(saved)
        with pytest.raises(ConfigError, match=rf"is of other work \(.*{told}"):
            scored(packed, text, asked)
        assert file.read_bytes() == saved
    file.write_text("a letter to somebody")
    with pytest.raises(ConfigError, match="is no saved work, and would be replaced"):
        scored(plain, tokens, batching)
    assert file.read_text() == "a letter to somebody"


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--batch", "3"], "--batch does nothing without --path batched"),
        (["--compile"], "--compile does nothing without --path batched"),
        (["--path", "blocked", "--resume", "x"], "--resume does nothing without --path batched"),
        (["--path", "batched", "--autocast", "bf61"], "autocast 'bf61': did you mean 'bf16'"),
        (["--path", "batched", "--device", "cudo"], "device 'cudo': did you mean 'cuda'"),
        (["--path", "batched", "--device", "cuda:99"], "PyTorch finds"),
        (["--path", "batched", "--resume", "no/such/folder/x"], "there is no folder"),
        (["--path", "bached"], "did you mean 'batched'"),
    ],
)
def test_flags_that_cannot_be_are_told_before_anything_is_opened(flags, told, capsys):
    assert main(["eval", "no.wl", *flags]) == 2
    assert told in capsys.readouterr().err


def test_json_says_who_looked_and_how_far_it_was_apart(models):
    found = evaluate(models["golf", SCORED[2][1]], stream(models["golf", SCORED[2][1]]), None, path="batched")
    plain = json.loads(json.dumps(found.to_plain()))
    assert plain["scored_by"] == "batched" and plain["checked"]["largest_difference"] <= plain["checked"]["room"]
    assert {"targets", "mean_difference", "room_per_nat", "room_of_the_mean"} <= plain["checked"].keys()
