"""A picture of an X-ray page, as docs/xray.md shows it: what a reader of the page sees first.

    weightless xray A.wl B.wl --text FILE --out page.html
    python benchmarks/xray_picture.py page.html docs/xray.png [--dark]

Needs Chromium and Playwright (./do setup web).  The page is opened from disk; nothing else is asked for.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1180)
    parser.add_argument("--scale", type=float, default=0.8, help="pixels of the picture per pixel of the page")
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        sys.exit("no Chromium on the path (Debian: apt install chromium)")
    draw(options, browser)
    print(f"picture: {options.picture} ({options.picture.stat().st_size / 1e3:.0f} kB)")
    return 0


def draw(options: argparse.Namespace, path: str) -> None:
    """Open the page, wait until it has drawn, and keep what is seen."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": options.width, "height": options.height},
            device_scale_factor=options.scale,
            color_scheme="dark" if options.dark else "light",
            reduced_motion="reduce",
        )
        page.goto(options.page.resolve().as_uri())
        page.wait_for_timeout(500)
        page.screenshot(path=options.picture)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
