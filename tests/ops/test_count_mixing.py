"""Count mixing's whole numbers, held to the equations in floating point, and hashes of words to how tokens cut them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError
from weightless.ops import context_hashes as ch
from weightless.ops import count_mixing as cm


def test_stretch_and_squash_are_inverse_to_their_units():
    stretch, squash = cm.stretch_table(), cm.squash_table()
    p = (np.arange(4096) + 0.5) / 4096
    assert np.abs(stretch / 256 - np.log(p / (1 - p))).max() <= 0.5 / 256 + 1e-12
    s = np.arange(-cm.LIMIT, cm.LIMIT + 1) / 256
    assert np.abs(squash / cm.ONE_P - 1 / (1 + np.exp(-s))).max() <= 0.5 / cm.ONE_P + 1e-15
    assert (squash + squash[::-1] == cm.ONE_P).all()


def test_no_entry_hangs_on_the_last_bit_of_a_machine():
    """Rounded values lie further from a tie than 1,000 times the error of a mediocre exp or log."""
    s = np.arange(-cm.LIMIT, cm.LIMIT + 1) / 256
    exact = {"squash": cm.ONE_P / (1 + np.exp(-s))}
    p = (np.arange(4096) + 0.5) / 4096
    exact["stretch"] = 256 * np.log(p / (1 - p))
    for name, values in exact.items():
        from_tie = np.abs(np.abs(values - np.floor(values)) - 0.5)
        assert (from_tie > 1000 * np.finfo(float).eps * np.maximum(np.abs(values), 1)).all(), name


@pytest.mark.parametrize("logit", [-3071, -700, -1, 0, 1, 256, 3071])
def test_probability_is_the_squash_table(logit):
    assert cm.probability(logit) * cm.ONE_P == cm.squash_table()[logit + cm.LIMIT]


def test_a_counter_is_the_running_mean_of_what_it_saw():
    """The start 1/2 weighs half a step: p_n = (ones + 1/4) / (n + 1/2)."""
    reciprocals, value, ones = cm.reciprocal_table(), int(cm.counter(0.5)), 0
    rng = np.random.default_rng(0)
    for n in range(1, 400):
        y = int(rng.random() < 0.3)
        ones += y
        value = cm.stepped(value, y, cm.LARGEST_N, reciprocals)
        assert value & cm.LARGEST_N == n
        assert (value >> cm.N_BITS) / cm.ONE_P == pytest.approx((ones + 0.25) / (n + 0.5), abs=2e-4)


def test_a_counter_stays_in_its_bits():
    reciprocals = cm.reciprocal_table()
    for y in (0, 1):
        value = int(cm.counter(0.5))
        for _ in range(5000):
            value = cm.stepped(value, y, cm.LARGEST_N, reciprocals)
        assert 0 <= value < 1 << 32 and value & cm.LARGEST_N == cm.LARGEST_N
        assert abs((value >> cm.N_BITS) / cm.ONE_P - y) < 2e-3


@pytest.mark.parametrize(
    ("f", "bounds"),
    [(cm.confidence, (1, 2, 3, 4, 6, 9, 16, 32, 64, 128, 400)), (cm.count_class, (1, 2, 3, 4, 5, 8, 16, 64))],
)
def test_classes_begin_where_they_say(f, bounds):
    assert [f(n) for n in bounds] == list(range(1, len(bounds) + 1))
    assert [f(n - 1) for n in bounds] == list(range(len(bounds)))


def test_small_counts_are_packed_exactly():
    stretch, reciprocals, seen = cm.stretch_table(), cm.reciprocal_table(), set()
    for history in range(1, 16):
        bits = bin(history)[3:]  # every sequence of up to three outcomes
        value = int(cm.counter(0.5))
        for bit in bits:
            value = cm.stepped(value, int(bit), cm.LARGEST_N, reciprocals)
        code = cm.node_code(value, stretch)
        n, right = len(bits), bits.count("1")
        assert code == (0 if n == 0 else n * (n + 1) // 2 + right)
        assert cm.node_of_code(code) == (n, 0)
        seen.add(code)
    assert seen == set(range(10))


def test_every_code_is_reached_and_comes_back():
    stretch, found = cm.stretch_table(), set()
    for n in (4, 6, 9, 16, 32, 64, 128, 400):
        reach = cm.REACHES[cm.confidence(n) - 4]
        levels = cm.LEVELS[cm.confidence(n) - 4]
        for p in np.linspace(1e-4, 1 - 1e-4, 4001):
            code = cm.node_code(int(cm.counter(p, n)), stretch)
            sure, logit = cm.node_of_code(code)
            exact = 256 * math.log(p / (1 - p))
            assert sure == cm.confidence(n)
            assert abs(logit - min(max(exact, -reach), reach)) <= reach / (levels - 1) + 6
            found.add(code)
    assert found <= set(range(10, 256)) and len(found) >= 244  # twelve bits of p leave holes at the far ends


def test_a_count_of_a_list_is_rounded_down():
    for n in (1, 2, 9, 10, 15, 16, 127, 128, 1000, 60_000):
        code = cm.list_count_code(n)
        assert cm.LIST_COUNTS[code] <= n and (code == 15 or cm.LIST_COUNTS[code + 1] > n)


@given(st.text(alphabet="aBc' ,.é", max_size=30), st.data())
def test_words_do_not_depend_on_how_tokens_cut_them(text, data):
    raw = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(raw) - 1)), max_size=8)) if len(raw) > 1 else [])
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    states = []
    for tokens in (pieces, [bytes([byte]) for byte in raw]):
        state = ch.WordState()
        for record in ch.token_records(tokens):
            state = ch.word_behind(state, record)
        states.append((state.current, state.before))
    assert states[0] == states[1]


def test_words_are_what_they_are_called():
    def behind(text):
        state = ch.WordState()
        for record in ch.token_records([text.encode()]):
            state = ch.word_behind(state, record)
        return state

    assert behind("The cat").current == behind("a CAT").current == ch.polynomial(b"cat", ch.WORD_BASE)
    assert behind("The cat ").before == ch.polynomial(b"cat", ch.WORD_BASE) and behind("The cat ").current == 0
    assert behind("cat, ").gap != behind("cat. ").gap


def test_contexts_by_name():
    assert ch.context_parts("o3") == (0b111, 0)
    assert ch.context_parts("t13") == (0b101, 0)
    assert ch.context_parts("w01+t2") == (0b10, 0b11)
    hashes = {
        ch.context_hash(ch.context_parts(name), [5, 6, 7], ch.WordState(9, 1, 8)) for name in ("o1", "t1", "o2", "w0")
    }
    assert len(hashes) == 3  # o1 and t1 are the same context


@pytest.mark.parametrize("name", ["", "o0", "o9", "x1", "w2", "o1+", "o1 o2", "t", "O1"])
def test_what_is_no_context_is_refused(name):
    with pytest.raises(ConfigError, match="is no context"):
        ch.context_parts(name)


def test_the_start_of_a_window_is_a_context_of_its_own():
    o2 = ch.context_parts("o2")
    assert ch.context_hash(o2, [4], ch.WordState()) != ch.context_hash(o2, [4, 4], ch.WordState())
