"""An instructor in JupyterLab in a real browser: Formgrader, autograde, feedback."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import chromium, keep, needs_chromium
from conftest import RIGHT_ANSWERS, hand_in_tiny, needs_sandbox
from lab import TOKEN, jupyterlab

pytestmark = [needs_chromium, needs_sandbox]

SLUG = "90_tiny"
SECONDS = 180_000


@pytest.fixture
def course(built_tiny: Path, tmp_path: Path) -> Path:
    root = tmp_path / "course"
    shutil.copytree(built_tiny, root)
    squares = {"double": "def double(x):\n    return x * x"}
    hand_in_tiny(root, "ben", RIGHT_ANSWERS | squares)
    return root


@pytest.fixture
def page(course: Path, tmp_path: Path) -> Iterator[tuple[Any, str]]:
    home = tmp_path / "home"
    home.mkdir()
    with jupyterlab(course, home) as address, chromium() as browser:
        yield browser.new_page(viewport={"width": 1280, "height": 900}), address


def answer(tab: Any) -> str:
    """What Formgrader says when it is done."""
    dialog = tab.locator(".modal .modal-content")
    dialog.wait_for(timeout=SECONDS)
    return dialog.inner_text()


def test_formgrader_grades_and_shows_the_mistake(
    page: tuple[Any, str], course: Path
) -> None:
    tab, address = page
    tab.goto(f"{address}/lab?token={TOKEN}")
    tab.locator(".lm-MenuBar-itemLabel", has_text="Nbgrader").click(timeout=SECONDS)
    tab.locator(".lm-Menu-itemLabel", has_text=re.compile("^Formgrader$")).click()
    frame = tab.frame_locator("iframe").first
    frame.get_by_text("Manage Assignments").first.wait_for(timeout=SECONDS)
    frame.get_by_text(SLUG).first.wait_for(timeout=SECONDS)
    keep(tab, "formgrader-assignments")

    tab.goto(f"{address}/formgrader/manage_assignments")
    tab.locator("tr", has_text=SLUG).locator(".assign a").click(timeout=SECONDS)
    assert "Successfully created" in answer(tab)

    tab.goto(f"{address}/formgrader/manage_submissions/{SLUG}")
    row = tab.locator("tr", has_text="ben")
    row.locator("td.autograde a, .autograde a").first.click(timeout=SECONDS)
    assert "Successfully autograded" in answer(tab)
    keep(tab, "formgrader-autograded")
    tab.goto(f"{address}/formgrader/manage_submissions/{SLUG}")
    row = tab.locator("tr", has_text="ben")
    row.get_by_text("1.5 / 3.5").wait_for(timeout=SECONDS)

    row.locator("td.generate-feedback a, .generate-feedback a").first.click()
    assert "Successfully generated feedback" in answer(tab)
    (feedback,) = (course / "feedback" / "ben" / SLUG).glob("*.html")
    tab.goto(feedback.as_uri())
    assert "You squared it." in tab.locator("body").inner_text()
    keep(tab, "feedback")

    tab.goto(f"{address}/formgrader/gradebook/{SLUG}/{SLUG}")
    tab.locator("tbody a").first.click(timeout=SECONDS)
    tab.get_by_text("You squared it.").first.wait_for(timeout=SECONDS)
    keep(tab, "formgrader-submission")
