"""A student in JupyterLab in a real browser: run, fail, read, mend, validate."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import chromium, keep, needs_chromium
from conftest import ROOT
from lab import Notebook, jupyterlab

from attention_course.author.chapter import BEGIN, END, read_chapter

pytestmark = needs_chromium

SLUG = "00_orientation"
NARROW, WIDE = {"width": 480, "height": 900}, {"width": 1280, "height": 900}


def right_answer(exercise: str) -> str:
    """The course's own answer, without its markers."""
    cells = read_chapter(ROOT / "chapters" / SLUG).cells
    (source,) = [
        c.source for c in cells if (c.role, c.exercise) == ("answer", exercise)
    ]
    rows = source.splitlines()
    return "\n".join(r for r in rows if r.strip() not in (BEGIN, END))


WRONG = """def pairwise_dots(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(0, 1)
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on a copy of a release."""
    folder = tmp_path_factory.mktemp("release")
    shutil.copytree(ROOT / "release" / SLUG, folder / SLUG)
    with jupyterlab(folder, tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.fixture(scope="module")
def notebook(browser: Any, address: str) -> Iterator[Notebook]:
    """The release, opened and run from top to bottom, unanswered."""
    page = browser.new_page(viewport=WIDE)
    opened = Notebook(page, address, f"{SLUG}/{SLUG}.ipynb")
    opened.run_all()
    yield opened
    page.close()


def test_the_lesson_runs_and_blank_checks_say_what_is_missing(
    notebook: Notebook,
) -> None:
    exercises = list(read_chapter(ROOT / "chapters" / SLUG).points)
    for name in exercises:
        told = notebook.output(notebook.cell(f"check({name})"))
        assert f"{name}: not written yet" in told
        assert "Replace raise NotImplementedError()" in told
    errors = notebook.page.locator(
        ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error'], "
        ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']"
    )
    assert errors.count() == 0
    last = notebook.page.locator(".jp-CodeCell .jp-InputPrompt").last
    assert re.search(r"\[\d+\]", last.inner_text()), "not everything was run"
    keep(notebook.page, "lab-unanswered")


def test_a_wrong_answer_is_told_its_mistake_and_a_right_one_passes(
    notebook: Notebook,
) -> None:
    answer = notebook.cell("def pairwise_dots")
    check = notebook.cell("check(pairwise_dots)")
    notebook.write(answer, WRONG)
    notebook.run(check)
    told = notebook.output(check)
    assert "pairwise_dots: not yet, 0 of" in told
    assert "You swap dimensions 0 and 1 of k" in told
    assert "Traceback" not in told
    check.scroll_into_view_if_needed()
    keep(notebook.page, "lab-wrong")
    notebook.write(answer, right_answer("pairwise_dots"))
    notebook.run(check)
    told = notebook.output(check)
    assert "✓ pairwise_dots: complete" in told
    keep(notebook.page, "lab-right")


def test_a_verdict_can_be_read_without_seeing_it(notebook: Notebook) -> None:
    """Its role, its words and their order, as a screen reader has them."""
    check = notebook.cell("check(weighted_mix)")
    notebook.run(check)
    verdict = check.get_by_role("status")
    assert verdict.count() == 1
    words = verdict.inner_text()
    assert words.index("weighted_mix") < words.index("not written yet")
    assert words.index("not written yet") < words.index("Replace")
    tree = verdict.aria_snapshot()
    assert "weighted_mix" in tree
    assert "strong" in tree


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_a_verdict_has_contrast_in_both_themes(
    browser: Any, tmp_path: Path, theme: str
) -> None:
    """Colours come from the theme: text on its ground has a contrast of 4.5 or more."""
    folder = tmp_path / "release"
    shutil.copytree(ROOT / "release" / SLUG, folder / SLUG)
    home = tmp_path / "home"
    home.mkdir()
    with jupyterlab(folder, home, theme=theme) as address:
        page = browser.new_page(viewport=WIDE)
        notebook = Notebook(page, address, f"{SLUG}/{SLUG}.ipynb")
        notebook.run(notebook.cell("import math"))
        notebook.run(notebook.cell("def pairwise_dots"))
        check = notebook.cell("check(pairwise_dots)")
        notebook.run(check)
        check.scroll_into_view_if_needed()
        name = theme.split()[-1].lower()
        keep(page, f"lab-{name}")
        assert contrast(page, check.get_by_role("status")) >= 4.5
        page.set_viewport_size(NARROW)
        page.wait_for_timeout(500)
        keep(page, f"lab-{name}-narrow")
        assert fits(check.get_by_role("status"))
        page.set_viewport_size({"width": 640, "height": 450})  # as at 200 %
        page.wait_for_timeout(500)
        keep(page, f"lab-{name}-zoomed")
        assert fits(check.get_by_role("status"))
        page.close()


def fits(element: Any) -> bool:
    """Whether nothing of an element is cut off at its side."""
    return element.evaluate("e => e.scrollWidth <= e.clientWidth + 1")


def contrast(page: Any, element: Any) -> float:
    """The contrast of an element's text with what lies behind it (WCAG 2.2, 1.4.3)."""
    front, back = element.evaluate(
        """e => {
            const text = getComputedStyle(e.querySelector('strong')).color;
            for (let n = e; n; n = n.parentElement) {
                const ground = getComputedStyle(n).backgroundColor;
                if (!/rgba\\(0, 0, 0, 0\\)|transparent/.test(ground))
                    return [text, ground];
            }
            return [text, 'rgb(255, 255, 255)'];
        }"""
    )
    light, dark = sorted((luminance(front), luminance(back)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of a CSS colour like rgb(1, 2, 3)."""
    red, green, blue = (float(n) / 255 for n in re.findall(r"[\d.]+", colour)[:3])
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (red, green, blue)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_measured_as_the_guideline_says() -> None:
    white, black, grey = (luminance(f"rgb({c}, {c}, {c})") for c in (255, 0, 119))
    assert (white + 0.05) / (black + 0.05) == pytest.approx(21)
    assert (white + 0.05) / (grey + 0.05) == pytest.approx(4.48, abs=0.01)


def test_validate_says_which_checks_fail(browser: Any, address: str) -> None:
    """nbgrader's Validate button names the exercise that is not complete."""
    page = browser.new_page(viewport=WIDE)
    notebook = Notebook(page, address, f"{SLUG}/{SLUG}.ipynb")
    page.locator(".jp-ToolbarButton", has_text="Validate").click()
    dialog = page.locator(".jp-Dialog")
    dialog.wait_for(timeout=180_000)
    page.wait_for_timeout(500)
    keep(page, "lab-validate")
    told = dialog.inner_text()
    assert "pairwise_dots" in told
    assert "not written yet" in told
    notebook.page.close()


def test_a_control_redraws_its_picture(browser: Any, tmp_path: Path) -> None:
    """The list and the slider of chapter 02's bandwidth both move the curve."""
    slug = "02_lookup"
    folder = tmp_path / "release"
    shutil.copytree(ROOT / "release" / slug, folder / slug)
    home = tmp_path / "home"
    home.mkdir()
    with jupyterlab(folder, home) as address:
        page = browser.new_page(viewport=WIDE)
        notebook = Notebook(page, address, f"{slug}/{slug}.ipynb")
        notebook.run_all()
        control = page.get_by_role("combobox", name="bandwidth").first
        control.scroll_into_view_if_needed()
        view = page.locator(".jp-OutputArea-output", has=control).first
        picture = view.locator("img")
        first = picture.get_attribute("alt")
        control.select_option(index=3)
        page.wait_for_timeout(1500)
        chosen = view.locator("img").get_attribute("alt")
        assert chosen != first
        slider = view.locator(".noUi-handle").first
        slider.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(1500)
        assert view.locator("img").get_attribute("alt") != chosen
        keep(page, "lab-widget")
        page.close()
