"""The page as its user meets it: `weightless serve` of two models in a process of its own, and a real browser.

Oracle: `LoggedEngine.touched`, the reduction that `weightless count --text` uses, on the artifacts that are served.
"""

from __future__ import annotations

import numpy as np
import pytest
from serve.test_process import process
from xray.browser import launched, opened

KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found


def ledger(packed, text: str, most: int) -> list[int]:
    """T of every token."""
    ids = np.array([packed.tokenizer.end_of_text, *packed.tokenizer.encode_ordinary_array(text)])[: most + 1]
    return packed.logged_engine().touched(ids[:-1], ids[1:])[1][:, :, 0].sum(axis=1).tolist()


def shown(page) -> list[int]:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return [int(e.get_attribute("data-touched")) for e in page.locator("[data-touched]").all()]


def test_two_models_are_there_at_once_with_the_ledgers_bytes(browser, shelf, packed):
    """Nothing is pressed; every token is compared, with the keys; then a text that is markup."""
    with (
        process(shelf["ngram"], shelf["dense"]) as (_, port),
        opened(browser, f"http://127.0.0.1:{port}/", 390) as page,
    ):
        page.wait_for_selector("#t0")
        text, most = page.input_value("#ask-text"), min(model.program.context for model in packed.values())
        counts = [ledger(packed[name], text, most) for name in ("ngram", "dense")]
        assert page.locator("#tokens [role=option]").count() == len(counts[0]), "what both have seen"
        page.focus("#tokens")
        page.keyboard.press("Home")
        for few, many in zip(*counts, strict=True):
            assert shown(page) == [few, many]
            page.keyboard.press("ArrowRight")
        words = page.inner_text("#headline")
        few, many = sorted((counts[0][-1], counts[1][-1]))
        assert f"{few:,} bytes" in words and f"{many:,}: " in words and "times more" in words
        page.fill("#ask-text", "<img src=x onerror=alert(1)>")
        page.select_option("#ask-second", "")
        page.keyboard.press("Tab")
        page.click("#ask button")
        page.wait_for_selector(".models.one")
        assert page.locator("main img").count() == 0 and "<img src=x" in page.inner_text("#tokens").replace("\n", "")


def test_a_server_with_a_key_is_asked_nothing_before_it_is_given(browser, shelf):
    with (
        process(shelf["ngram"], "--api_key", KEY) as (_, port),
        opened(browser, f"http://127.0.0.1:{port}/") as page,
    ):
        assert "wants a key" in page.inner_text("#status") and page.locator("#ask-first").is_hidden()
        page.fill("#ask-key", KEY[::-1])
        page.click("#ask button")
        page.wait_for_selector("#status.wrong")
        assert "not the key" in page.inner_text("#status")
        assert page.said.pop().startswith("Failed to load resource")  # the browser's own word about a 401
        page.fill("#ask-key", KEY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#t0")
