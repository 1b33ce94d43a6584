"""The site: builds offline without a warning, holds together, and can be used by all.

Pages are served on loopback and opened in Chromium. axe-core, from npm, looks at every
kind of page in light and dark, on a desk and on a phone.
"""

from __future__ import annotations

import html
import json
import re
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from browser import chromium, needs_chromium
from conftest import ROOT

from attention_course.grade.leaks import secret_lines

LESSON = "lessons/04_scaling.html"
SIZES = {"desk": (1360, 900), "phone": (390, 844)}
THEMES = ("light", "dark")
SHOTS = ROOT / "build" / "website" / "screenshots"

needs_npm = pytest.mark.skipif(
    shutil.which("npm") is None,
    reason="npm is not installed, from which axe-core comes: install Node.js",
)


def without_network() -> list[str]:
    """What a command is begun with to have no network, where that can be had."""
    sealed = ["bwrap", "--dev-bind", "/", "/", "--unshare-net"]
    if shutil.which("bwrap") is None:
        return []
    tried = subprocess.run([*sealed, "true"], capture_output=True, check=False)
    return sealed if tried.returncode == 0 else []


def build_site(course: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(course / "website" / "build.py"), str(target)]
    return subprocess.run(
        [*without_network(), *command], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without network, in time, with warnings as errors."""
    target = tmp_path_factory.mktemp("site") / "html"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = build_site(ROOT, target)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    # Computing, not waiting: other work on the machine doesn't count.
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 120
    return target


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The address under which the site is served while the tests run."""
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


class Page(HTMLParser):
    """What one page links to, loads, and can be linked to as."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: list[str] = []
        self.alts: list[str] = []
        self.feed(text)

    def handle_starttag(
        self, tag: str, attributes: list[tuple[str, str | None]]
    ) -> None:
        values = {name: value or "" for name, value in attributes}
        if "id" in values:
            self.anchors.append(values["id"])
        if "alt" in values:
            self.alts.append(values["alt"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag in ("script", "img", "iframe", "source") and "src" in values:
            self.loads.append(values["src"])
        elif tag == "link" and "href" in values:
            self.loads.append(values["href"])


def pages(site: Path) -> dict[str, Page]:
    return {
        path.relative_to(site).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
    }


def test_every_chapter_has_a_lesson_and_its_exercises(site: Path) -> None:
    slugs = [p.stem for p in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    assert len(slugs) >= 10
    landing = pages(site)["index.html"].links
    for slug in slugs:
        for kind in ("lessons", "exercises"):
            assert f"{kind}/{slug}.html" in landing
            assert (site / kind / f"{slug}.html").is_file()


def test_a_lesson_shows_every_output(site: Path) -> None:
    notebook = json.loads((ROOT / "notebooks/04_scaling.ipynb").read_text("utf-8"))
    page = (site / LESSON).read_text(encoding="utf-8")
    shown, alts = plain(page), Page(page).alts
    figures = lines = 0
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                figures += 1
                assert alt in alts
            for line in "".join(output.get("text", [])).splitlines():
                lines += 1
                assert line in shown
    assert figures >= 5
    assert lines > 20


def test_links_hold(site: Path) -> None:
    found = pages(site)
    broken = []
    for name, page in found.items():
        for link in page.links + page.loads:
            target = urlsplit(urljoin(f"http://site/{name}", link))
            if target.netloc != "site":
                if target.scheme not in ("https", "mailto") or " " in link:
                    broken.append(f"{name}: {link}")
                continue
            path = unquote(target.path).lstrip("/") or "index.html"
            if not (site / path).is_file():
                broken.append(f"{name}: {link}")
            elif target.fragment and path in found:
                anchors = [*found[path].anchors, "furo-main-content"]
                if unquote(target.fragment) not in anchors:
                    broken.append(f"{name}: {link} (no such place on the page)")
    assert not broken, "\n".join(broken)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    outside = [
        f"{name}: {source}"
        for name, page in pages(site).items()
        for source in page.loads
        if urlsplit(source).netloc
    ]
    assert not outside
    styles = [*site.rglob("*.css")]
    assert len(styles) > 3
    for style in styles:
        loaded = re.findall(
            r"(?:url\(|@import)\s*['\"]?\s*(\w+:)?//", style.read_text()
        )
        assert not loaded, style


def test_the_pages_hold_no_answer(site: Path) -> None:
    """As the archive: each line of each answer, looked for in the pages' text."""
    secrets = secret_lines(ROOT)
    assert len(secrets) > 1000
    for path in [*site.rglob("*.html"), site / "searchindex.js"]:
        text = plain(path.read_text(encoding="utf-8"))
        leaks = [line for line in secrets if line in text]
        assert not leaks, f"{path}: {leaks[:3]}"


def plain(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def test_a_warning_fails_the_build(tmp_path: Path) -> None:
    copy = tmp_path / "course"
    for name in ("docs", "website", "notebooks", "release", "chapters"):
        shutil.copytree(
            ROOT / name, copy / name, ignore=shutil.ignore_patterns("0[1-9]_*", "1*_*")
        )
    for name in ("pyproject.toml", "requirements.lock", "LICENSE", "CITATION.cff"):
        shutil.copy(ROOT / name, copy)
    extra = copy / "docs" / "student.md"
    extra.write_text("# Start\n\n[gone](nowhere.md)\n", encoding="utf-8")
    done = build_site(copy, tmp_path / "html")
    assert done.returncode != 0
    assert "nowhere.md" in done.stdout + done.stderr


def open_page(browser: Any, url: str, theme: str, size: str) -> Any:
    width, height = SIZES[size]
    context = browser.new_context(
        color_scheme=theme, viewport={"width": width, "height": height}
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_load_state("networkidle")
    return page


def close(page: Any) -> None:
    page.context.close()


@needs_chromium
def test_a_lesson_is_whole_in_a_browser(browser: Any, address: str) -> None:
    asked: list[str] = []
    troubles: list[str] = []
    page = browser.new_context().new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: troubles.append(request.url))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(address + LESSON)
    page.wait_for_function("document.querySelectorAll('mjx-container').length > 10")
    page.wait_for_load_state("networkidle")
    missing = page.evaluate(
        "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    )
    close(page)
    assert missing == 0
    assert not troubles
    assert [url for url in asked if not url.startswith(address)] == []


@needs_chromium
def test_search_finds_a_lesson(browser: Any, address: str) -> None:
    page = open_page(browser, address, "light", "desk")
    page.fill(".sidebar-search", "jacobian")
    page.press(".sidebar-search", "Enter")
    page.wait_for_selector("ul.search li a")
    found = page.eval_on_selector_all("ul.search li a", "a => a.map(x => x.href)")
    close(page)
    assert any(LESSON in link for link in found)


@needs_chromium
def test_the_theme_follows_the_system_and_the_button(
    browser: Any, address: str
) -> None:
    script = "getComputedStyle(document.body).backgroundColor"
    light = open_page(browser, address, "light", "desk")
    dark = open_page(browser, address, "dark", "desk")
    assert light.evaluate(script) != dark.evaluate(script)
    before = light.evaluate(script)
    for _ in range(3):
        light.click(".theme-toggle >> visible=true")
        if light.evaluate(script) != before:
            break
    assert light.evaluate(script) == dark.evaluate(script)
    close(light)
    close(dark)


KINDS = ["index.html", LESSON, "exercises/04_scaling.html", "student.html"]
KINDS += ["search.html?q=softmax"]
KINDS += [f"{p.stem}.html" for p in sorted((ROOT / "docs").glob("[gm]*.md"))]
KINDS += [
    f"instructor/{p.stem}.html" for p in sorted((ROOT / "docs/instructor").glob("*.md"))
][:1]


MATHS = """
window.MathJax && MathJax.startup &&
MathJax.startup.promise.then(() => new Promise(done => setTimeout(done, 50, 1)))
"""

TOO_WIDE = """
[...document.querySelectorAll("article, article *")].filter(element => {
  const box = element.getBoundingClientRect();
  if (!box.width || box.right <= innerWidth + 1 || element.closest("mjx-assistive-mml"))
    return false;
  for (let outer = element; outer.tagName != "ARTICLE"; outer = outer.parentElement)
    if (/auto|scroll/.test(getComputedStyle(outer).overflowX)) return false;
  return true;
}).map(element => element.outerHTML.slice(0, 120))
"""
"""What reaches over the window's edge, and lies in nothing that scrolls."""


@needs_chromium
def test_no_page_is_wider_than_a_phone(browser: Any, address: str, site: Path) -> None:
    page = open_page(browser, address, "light", "phone")
    wide = []
    for name in pages(site):
        page.goto(address + name)
        page.evaluate(MATHS)
        wide += [f"{name}: {what}" for what in page.evaluate(TOO_WIDE)]
    close(page)
    assert not wide


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's script, in the version that website/package-lock.json pins."""
    folder = ROOT / "build" / "website" / "node"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "website" / name, folder)
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return (folder / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


RUN_AXE = "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)"


def violations(page: Any, axe: str) -> list[str]:
    page.evaluate(axe)
    return [
        f"{found['id']}: {found['help']}: {node['html'][:200]}"
        for found in page.evaluate(RUN_AXE)
        for node in found["nodes"]
    ]


@needs_chromium
@needs_npm
@pytest.mark.parametrize("name", KINDS)
def test_axe_finds_nothing(browser: Any, address: str, axe: str, name: str) -> None:
    page = open_page(browser, address + name, "light", "desk")
    page.evaluate(MATHS)
    for summary in page.query_selector_all("article details:not([open]) > summary"):
        summary.click()
    SHOTS.mkdir(parents=True, exist_ok=True)
    kind = re.sub(r"\W+", "-", name.removesuffix(".html"))
    found = []
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            page.wait_for_timeout(200)  # the theme fades its colours
            found += [f"{theme}, {size}: {v}" for v in violations(page, axe)]
            page.screenshot(path=SHOTS / f"{kind}-{theme}-{size}.png")
    close(page)
    assert not found, "\n".join(found)


@needs_chromium
@needs_npm
def test_axe_would_find_something(browser: Any, address: str, axe: str) -> None:
    page = open_page(browser, address, "light", "desk")
    page.evaluate("document.querySelector('.panel img').removeAttribute('alt')")
    page.evaluate("document.querySelector('.lead').style.color = '#ccc'")
    found = " ".join(violations(page, axe))
    close(page)
    assert "image-alt" in found
    assert "color-contrast" in found
