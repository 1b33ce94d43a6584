"""Build the site from the built notebooks: stage the pages, then run Sphinx.

`python website/build.py [FOLDER]` writes the site to FOLDER (default:
build/website/html). Everything comes from the repository and the environment: no
network, no kernel.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import sys
from pathlib import Path

from landing import HINT, MAP, landing_page, opening_of
from lessons import read_lessons
from pages import ARCHIVE, exercise_page, lesson_page, relinked
from sphinx.cmd.build import build_main

from attention_course.author.published import repository
from attention_course.grade.bundle import write_bundle

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "website"
MATHJAX = ("tex-chtml.js", "output/chtml", "input/tex/extensions", "a11y", "sre", "ui")
"""The parts of MathJax that the pages load."""

MENDED = (
    (r'<aside class="sidebar', '<aside aria-label="Course" class="sidebar'),
    (r'<aside class="toc', '<aside aria-label="This page" class="toc'),
    (r'(class="caption" role="heading")>', r'\1 aria-level="2">'),
    (r'(<a href="#" class="back-to-top.*?</a>)', r'<nav aria-label="Top">\1</nav>'),
    (r'<th class="head"><p></p></th>', "<td></td>"),
    (r'<div id="search-results">', '<h1>Search</h1><div id="search-results">'),
)
"""Patterns in the theme's pages, and what stands in their place."""


def stage(root: Path, target: Path) -> None:
    """Write everything that Sphinx reads to the folder `target`."""
    shutil.rmtree(target, ignore_errors=True)
    lessons, address = read_lessons(root), repository(root)
    shutil.copytree(HERE / "static", target / "_static")
    shutil.copy(HERE / "conf.py", target)
    _stage_mathjax(target / "_static" / "mathjax")
    (target / "_extra").mkdir()
    write_bundle(root, target / "_extra" / ARCHIVE)
    (target / "_extra" / ".nojekyll").touch()  # GitHub Pages: keep _static
    for lesson in lessons:
        _write(target / f"lessons/{lesson.slug}.ipynb", lesson_page(lesson, address))
        _write(target / f"exercises/{lesson.slug}.md", exercise_page(lesson, address))
    figures = target / "_static" / "figures"
    figures.mkdir()
    for lesson in lessons:
        if lesson.figures:
            (figures / f"{lesson.slug}.png").write_bytes(lesson.figures[-1].data)
    opening = opening_of(lessons)
    if opening:
        for name, figure in zip(("near", "far"), opening.figures, strict=False):
            (figures / f"opening-{name}.png").write_bytes(figure.data)
    for picture in (HINT, MAP):
        if (root / "docs" / picture).exists():
            shutil.copy(root / "docs" / picture, figures)
    docs = copy_docs(root, target, address)
    _write(target / "index.md", landing_page(root, lessons, docs))


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def _stage_mathjax(target: Path) -> None:
    found = importlib.util.find_spec("sphinx-mathjax-offline")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("sphinx-mathjax-offline is missing: run `make setup`")
    origin = Path(found.submodule_search_locations[0]) / "static" / "mathjax"
    for part in MATHJAX:
        if (origin / part).is_dir():
            shutil.copytree(origin / part, target / part)
        elif (origin / part).exists():
            target.mkdir(exist_ok=True)
            shutil.copy(origin / part, target / part)


def copy_docs(root: Path, target: Path, address: str | None) -> list[str]:
    """Copy the pages and pictures of docs/; returns the pages' names."""
    docs, pages = root / "docs", []
    for path in sorted(docs.rglob("*")):
        name = path.relative_to(docs)
        if path.is_dir():
            (target / name).mkdir(parents=True, exist_ok=True)
        elif path.suffix == ".md":
            text = path.read_text(encoding="utf-8")
            _write(target / name, relinked(text, path, root, address))
            pages.append(name.with_suffix("").as_posix())
        else:
            shutil.copy(path, target / name)
    return pages


def polish(folder: Path) -> None:
    """Mend in the finished pages what the theme leaves unclear to a screen reader."""
    for path in folder.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        for pattern, better in MENDED:
            page = re.sub(pattern, better, page, flags=re.DOTALL)
        path.write_text(page, encoding="utf-8")


def main() -> int:
    """Build; returns Sphinx's exit code: 0, or 1 for an error or a warning."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "build" / "website" / "html"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    folder = parser.parse_args().folder.resolve()
    source = ROOT / "build" / "website" / "source"
    print("preparing the pages", flush=True)
    stage(ROOT, source)
    shutil.rmtree(folder, ignore_errors=True)
    arguments = ["-b", "html", "-W", "--keep-going", "-j", "auto"]
    if not sys.stdout.isatty():
        arguments += ["-q"]  # otherwise Sphinx shows how far it is
    arguments += ["-d", str(source.parent / "doctrees")]
    code = build_main([*arguments, str(source), str(folder)])
    if code == 0:
        polish(folder)
        print(f"wrote {folder}: open index.html in a browser")
    return code


if __name__ == "__main__":
    sys.exit(main())
