"""A real browser for the tests of pages: Playwright drives the Chromium of the system; without either they skip."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
GET = "install Chromium (Debian: apt install chromium) and run ./do setup web"


def chromium() -> str:
    """Where Chromium is: CHROMIUM names one, else the first on the path; skips without one."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), "")
    if not found:
        pytest.skip(f"no Chromium on the path: {GET}")
    return found


@contextmanager
def launched() -> Iterator:
    """A headless browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip(f"Playwright is not installed: {GET}")
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, url: str, width: int = 1600, scheme: str = "light", reduced: bool = False) -> Iterator:
    """A page at that width; whatever it says on the console, throws or asks of another host fails the test."""
    motion = "reduce" if reduced else "no-preference"
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        reduced_motion=motion,
        locale="en-US",
        has_touch=width < 500,
    )
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(20_000)
    page.goto(url)
    page.said, page.asked = said, asked  # type: ignore[attr-defined]
    yield page
    context.close()
    assert said == [], said
    root = url.split("/", 3)[2]
    assert all(address.split("/", 3)[2:3] == [root] or address.startswith("data:") for address in asked), asked
