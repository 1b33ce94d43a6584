"""Headless Chromium for tests: found on the machine, closed when they end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

ARTEFACTS = Path(__file__).resolve().parents[1] / "build" / "screenshots"
"""Where the tests keep what they saw."""


def executable() -> str:
    """Chromium's path, or an empty string."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((found for name in names if (found := shutil.which(name))), "")


needs_chromium = pytest.mark.skipif(
    not executable(),
    reason="Chromium is not installed: `make setup` installs it where it may, or "
    "`apt-get install chromium`",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable(), args=ARGUMENTS
        )
        try:
            yield browser
        finally:
            browser.close()


def keep(page: Any, name: str) -> Path:
    """Keep a screenshot of what the page shows."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    path = ARTEFACTS / f"{name}.png"
    page.screenshot(path=path)
    return path
