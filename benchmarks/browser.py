"""Pictures of pages, taken by a real browser without a window."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def screenshot(page: Path, picture: Path, *, width: int = 1280, height: int = 1600, dark: bool = False) -> bool:
    """Take a picture of the upper part of a page; say whether a browser was there to do it.

    Args:
        page: an HTML file.
        picture: the PNG to write.
        width: of the window, in pixels.
        height: of the window, in pixels.
        dark: as seen by someone who prefers dark pages.
    """
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        print(f"{picture.name}: no Chromium, no picture")
        return False
    from playwright.sync_api import sync_playwright

    confined = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses to confine itself for root
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=confined)
        shown = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        shown.goto(page.resolve().as_uri())
        shown.screenshot(path=str(picture))
        browser.close()
    return True
