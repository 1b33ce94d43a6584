"""The glossary holds what the chapters introduce, and says where."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT

from attention_course.author.chapter import Chapter, find_chapters, read_chapter

DOCS = ROOT / "docs"

EMPHASIS = {
    "predict",
    "work out",
    "time",
    "you need",
    "try",
    "ignore",
    "add",
    "added",
    "after",
    "before",
    "inside",
    "weights",
    "gradients",
    "hint",
    "last",
    "last but one",
    "at the right",
    "same shirt",
    "differ",
    "it",
    "offers",
    "looks for",
    "passes on",
    "read linearly",
    "all heads",
    "and",
    "both",
    "other",
    "centre patch",
    "mean of patches",
    "at the ball",
    "gradients add up",
    "one",
    "mean",
    "go beyond",
    "go down",
    "sum",
    "maximum",
    "memory",
    "output",
    "longformer",
}
"""Bold words of the chapters that are stressed, or named in passing, not introduced."""


class Row(NamedTuple):
    """One line of the glossary."""

    term: str
    meaning: str
    symbol: str
    torch: str
    chapter: str


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| **")]
    return [Row(*(c.strip() for c in line.strip("|").split("|"))) for line in lines]


@pytest.fixture(scope="module")
def chapters() -> dict[str, Chapter]:
    return {f.name: read_chapter(f) for f in find_chapters(ROOT)}


def prose(chapter: Chapter) -> str:
    cells = [c.source for c in chapter.cells if c.role in ("prose", "exercise")]
    return "\n\n".join(cells)


def words(text: str) -> str:
    """Lower case, with line breaks, formulas' braces and code marks taken out."""
    return " ".join(re.sub(r"[`*${}]", "", text).lower().split())


def name(row: Row) -> str:
    return row.term.strip("*")


def introduced(chapter: Chapter) -> set[str]:
    """Bold phrases of at most three words that end no sentence and are no formula."""
    cells = [c.source for c in chapter.cells[1:] if c.role == "prose"]
    found = re.findall(r"\*\*(.+?)\*\*", "\n\n".join(cells), flags=re.DOTALL)
    terms = {" ".join(phrase.split()).lower() for phrase in found}
    plain = re.compile(r"[a-z_][\w\- ]*")
    return {t for t in terms if plain.fullmatch(t) and t.count(" ") < 3} - EMPHASIS


def test_every_line_is_whole_and_in_order(rows: list[Row]) -> None:
    assert len(rows) > 80
    names = [name(row).lower() for row in rows]
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    for row in rows:
        assert row.meaning.endswith("."), row.term
        assert len(row.meaning.split()) <= 32, row.term


def test_a_term_occurs_in_the_chapter_that_is_said_to_introduce_it(
    rows: list[Row], chapters: dict[str, Chapter]
) -> None:
    missing = []
    for row in rows:
        slug = re.findall(r"notebooks/(\w+)\.ipynb", row.chapter)[0]
        text = words(prose(chapters[slug]) + "\n" + code(chapters[slug]))
        if words(name(row)) not in text:
            missing.append(f"{name(row)}: not in {slug}")
    assert not missing


def code(chapter: Chapter) -> str:
    return "\n".join(c.source for c in chapter.cells if c.role == "demo")


def test_every_term_that_a_chapter_introduces_is_there(
    rows: list[Row], chapters: dict[str, Chapter]
) -> None:
    known = {name(row).lower() for row in rows}
    known |= {f"{term}s" for term in known} | {f"{term}es" for term in known}
    missing = {
        slug: sorted(
            t
            for t in introduced(chapter)
            if t not in known and not any(k.startswith(f"{t} ") for k in known)
        )
        for slug, chapter in chapters.items()
    }
    assert {slug: terms for slug, terms in missing.items() if terms} == {}


def test_the_chapters_do_introduce_terms(chapters: dict[str, Chapter]) -> None:
    assert {"query", "temperature", "entropy"} <= introduced(chapters["02_lookup"])
    assert "residual stream" in introduced(chapters["08_encoder_layer"])


@pytest.mark.parametrize("page", ["glossary.md", "map.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert len(links) > 10
    gone = [link for link in links if not (DOCS / Path(link)).resolve().exists()]
    assert not gone


def test_names_in_torch_are_names_in_torch(rows: list[Row]) -> None:
    import torch
    from torch import nn
    from torch.nn import functional

    namespaces = {"torch": torch, "nn": nn, "F": functional}
    checked = 0
    for row in rows:
        for dotted in re.findall(r"`((?:torch|nn|F)\.[\w.]+)`", row.torch):
            first, *others = dotted.split(".")
            found = namespaces[first]
            for part in others:
                found = getattr(found, part)
            checked += 1
    assert checked > 25
