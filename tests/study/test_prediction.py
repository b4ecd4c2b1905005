"""Oracles: the place of each planted error counted by hand, the tree of each form written out."""

from __future__ import annotations

import pytest

from weightless.base.errors import ConfigError
from weightless.study.claims import Comparison, Diverges, Number, Order, Place, Ref, Sum, Within
from weightless.study.prediction import check, parse

ARMS = ["A", "B", "feather.full_head", "a-b", "lr=0.003", "none"]
SETTINGS = {"A": {"train.max_lr": 1e-3, "corpus": "books"}, "B": {"train.max_lr": 1e-3, "corpus": "fables"}}


@pytest.mark.parametrize(
    "text, claim",
    [
        ("A < B", Comparison(Ref("A", None, True, 0), "<", Ref("B", None, True, 4))),
        ("A<B", Comparison(Ref("A", None, True, 0), "<", Ref("B", None, True, 2))),
        ("A >= 1.5 bits", Comparison(Ref("A", None, True, 0), ">=", Number(1.5, "bits", 5))),
        ("a-b < 0", Comparison(Ref("a-b", None, True, 0), "<", Number(0.0, "", 6))),
        ("A.stored <= 16MB", Comparison(Ref("A", "stored", True, 0), "<=", Number(16e6, "bytes", 12))),
        ("lr=0.003.touched < 1 B", Comparison(Ref("lr=0.003", "touched", True, 0), "<", Number(1.0, "bytes", 19))),
        ('"lr=0.003".touched > 2 kB', Comparison(Ref("lr=0.003", "touched", True, 0), ">", Number(2e3, "bytes", 21))),
        ("order(A, feather.full_head)", Order((Ref("A", None, True, 6), Ref("feather.full_head", None, True, 9)))),
        ("diverges(none)", Diverges(Ref("none", None, True, 9))),
        (
            "best(train.max_lr) within 4x of 0.01",
            Within(Place("best", "train.max_lr", {}, 0), 4.0, Number(0.01, "", 32)),
        ),
        (
            "best(k, corpus = books, lr=0.1) within 2.5x of edge(k)",
            Within(Place("best", "k", {"corpus": "books", "lr": "0.1"}, 0), 2.5, Place("edge", "k", {}, 47)),
        ),
    ],
)
def test_forms(text, claim):
    assert check(text, ARMS).claim == claim


def test_products_bind_before_sums():
    left = check("A.touched - 2 * B.touched / 4 < 0", ARMS).claim.left
    assert left.sign == "-" and isinstance(left.right, Sum) and left.right.sign == "/" and left.right.left.sign == "*"


def test_the_unit_says_which_loss():
    assert (parse("A - B < 0.02 nats").unit, parse("A < 2 bits").unit, parse("A < B").unit) == ("nats", "bits", "")


@pytest.mark.parametrize(
    "text, told",
    [
        ("A < C", "character 5: no arm 'C'"),
        ("feather.fullhead < A", "character 1: no arm 'feather.fullhead'; did you mean 'feather.full_head'"),
        ("A.touchd < B.touched", "no figure 'touchd' of A; did you mean 'touched'"),
        ("A-B < 0.1 nats", "minus needs spaces"),
        ("A - B < 0.02", "character 9: a number beside a loss needs its unit"),
        ("A < B.touched", "bytes beside loss"),
        ("A.touched < 3 nats", "nats beside bytes"),
        ("A - 1 bits < 2 nats", "nats and bits in one"),
        ("A - B < 0.02 nots", "character 14: no unit 'nots'; did you mean 'nats'"),
        ("A <", "character 4: expected an arm, found 'the end'"),
        ("A < B C", "character 7: expected the end, found 'C'"),
        ('"A < B', "opened by"),
        ("A ~ B", "character 3: '~' begins nothing"),
        ("1 < 2", "names no arm"),
        ("order(A)", "two arms or more"),
        ("order(A, A)", "twice"),
        ("order(A.touched, B)", "without a figure"),
        ("best(train.max_lr) within 4 of edge(train.max_lr)", "factor such as 4x"),
        ("best(train.maxlr) within 4x of 0.1", "did you mean 'train.max_lr'"),
        ("best(train.max_lr) within 4x of 0.1", "several arms have one train.max_lr: say which, corpus = one of"),
        ("best(train.max_lr, corpus=news) within 4x of 0.1", "no arm has corpus = news"),
        ("best(corpus, train.max_lr=1e-3) within 4x of 0.1", "positive numbers"),
        ("A < 1e999 nats", "beyond any float"),
        ("", "a prediction is a text"),
        ("(" * 500, "500 characters"),
        ("(" * 399, "character 41: nested more than 40 deep"),
        ("-" * 399, "nested more than 40 deep"),
    ],
)
def test_errors_say_where_and_what(text, told):
    with pytest.raises(ConfigError, match=told.replace("(", r"\(").replace("'", ".")):
        check(text, ARMS, settings=SETTINGS)


def test_a_place_with_its_setting_is_found():
    assert check("best(train.max_lr, corpus=books) within 4x of 0.1", ARMS, settings=SETTINGS)
