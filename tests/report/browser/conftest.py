"""A real browser without a window, where one is installed; where none is, the tests say that they were skipped."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DESKTOP = {"width": 1280, "height": 900}


@pytest.fixture(scope="session")
def chromium():
    """A browser for the whole session."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is installed")
    from playwright.sync_api import sync_playwright

    confined = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses to confine itself for root
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=confined)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """Open a file in a window of its own; what goes wrong there, and what it asks the network for, fails the test."""

    @contextmanager
    def open_page(path, *, size=DESKTOP, scripts=True, **settings):
        wrong = []
        context = chromium.new_context(viewport=size, java_script_enabled=scripts, **settings)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(f"console {said.type}: {said.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("request", lambda asked: wrong.append(asked.url) if asked.url.startswith("http") else None)
        page.goto(Path(path).resolve().as_uri())
        try:
            yield page
            assert wrong == []
        finally:
            context.close()

    return open_page
