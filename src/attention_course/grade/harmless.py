"""Make a student's words harmless to whoever reads them.

A reader looks at submissions in Formgrader, in JupyterLab and as feedback, with their
own session: nothing that a student wrote may run there, load anything, or pretend to
be something else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import nh3

ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)(?![0-9;]*m)[0-?]*[ -/]*[@-~]"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[^\[]"
)
"""Terminal sequences other than colours."""

UNWANTED = dict.fromkeys(
    code
    for code in (*range(0x20), *range(0x7F, 0xA0), 0xFEFF, 0xFFFE, 0xFFFF)
    if chr(code) not in "\t\n\r\x1b"
)
"""Control characters: they draw nothing, and some hide what is there."""

DIRECTIONS = {
    code: f"<{unicodedata.name(chr(code))}>"
    for code in [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C]
}
"""Characters that turn the direction of text: shown by name."""

TAG = re.compile(r"<(?=[A-Za-z/!?])")
ENTITY = re.compile(r"&(?=#?\w+;)")
IMAGE = re.compile(r"!(?=\[)(?!\[(?:[^\[\]]|\[[^\[\]]{0,200}\]){0,300}\]\(attachment:)")
MERMAID = re.compile(r"(?im)^([ \t>]*(?:`{3,}|~{3,})[ \t]*)mermaid\b")
PILED = re.compile(
    "([\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4})"
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)
"""More accents on one letter than any language has: they reach into other lines."""
SCHEME = re.compile(
    r"(?i)\b(javascript|vbscript)(\s*:)|\b(data)(\s*:)(?=\s*(?:text|application|image/svg))"
)
LINKS_IN_FORMULAS = re.compile(r"\\(?=href|require|htmlData|unicode|style|class\b)")
OVER_OTHER_TEXT = re.compile(
    r"\\(?=(?:raise|lower|moveleft|moveright|[rl]lap|math[rlc]lap|clap|smash|bbox|"
    r"kern|mkern|hskip|mskip|hspace|mspace|mmlToken|toggle|[egx]?def|let|newcommand|"
    r"renewcommand|providecommand|newenvironment|renewenvironment|csname)(?![A-Za-z]))"
)
"""Commands that draw a formula over other text, or give such a command another name."""

IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif")
BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")

HTML_TAGS = nh3.ALLOWED_TAGS - {"img", "map", "area"}
HTML_ATTRIBUTES = {
    tag: names - {"src", "background"} for tag, names in nh3.ALLOWED_ATTRIBUTES.items()
} | {"*": {"title", "lang", "align", "colspan", "rowspan"}}
"""No class: the page's own style sheet has some that cover the page."""
MOST_TAGS = 10_000
"""Nested deeply, more of them take minutes to read."""


def text(value: object, most: int = 100_000) -> str:
    """Text without control characters, terminal tricks and turned directions.

    Colours of a terminal stay. At most `most` characters.
    """
    words = str(value).encode("utf-8", "replace").decode("utf-8")
    if len(words) > most:
        words = words[:most] + " … (cut)"
    if words.isascii() and words.isprintable():
        return words
    words = ESCAPES.sub("", words.replace("\r\n", "\n")).translate(UNWANTED)
    return PILED.sub(r"\1", words).translate(DIRECTIONS)


def line(value: object, most: int = 300) -> str:
    """One line of harmless text, without terminal colours."""
    words = re.sub(r"\x1b\[[0-9;]*m", "", text(value, most))
    return " ".join(words.split())


def html(value: object) -> str:
    """HTML of which only text, tables and formatting are left.

    No script, frame, form, image, style sheet or event handler, and no link that is
    not http, https or mailto. Of more than `MOST_TAGS` tags, a word that it was cut.
    """
    given = str(value)
    if given.count("<") > MOST_TAGS:
        return f"(HTML of more than {MOST_TAGS:,} tags is not shown)"
    return nh3.clean(
        text(given, 10**7),
        tags=HTML_TAGS,
        attributes=HTML_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )


def markdown(value: str) -> str:
    """Markdown in which no HTML, image from elsewhere or script address is left.

    A space after each `<` that could begin a tag, and after each `&` that could write a
    character in disguise, makes them plain text, in prose, code and formulas alike.
    """
    words = ENTITY.sub("& ", TAG.sub("< ", text(value)))
    words = MERMAID.sub(r"\1text", words)
    return formula(IMAGE.sub("image: ", words))


def formula(value: str) -> str:
    """TeX that opens no address, loads no extension and stays in its place."""
    words = SCHEME.sub(r"\1\3 \2\4", text(value))
    return OVER_OTHER_TEXT.sub(r"\\ ", LINKS_IN_FORMULAS.sub(r"\\ ", words))


def cell_text(value: object) -> str:
    """One cell of a table that a spreadsheet may open: never a formula."""
    words = line(value, 1000)
    return f"'{words}" if words[:1] in ("=", "+", "-", "@", "\t", "\r") else words


def output(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """One output of a notebook cell made harmless, or None if nothing is left."""
    kind = given.get("output_type")
    if kind == "stream":
        name = "stderr" if given.get("name") == "stderr" else "stdout"
        return {"output_type": "stream", "name": name, "text": text(_joined(given))}
    if kind == "error":
        trace = given.get("traceback")
        rows = trace if isinstance(trace, list) else []
        return {
            "output_type": "error",
            "ename": line(given.get("ename", "")),
            "evalue": text(given.get("evalue", ""), 5000),
            "traceback": [text(row, 20_000) for row in rows[:200]],
        }
    if kind not in ("display_data", "execute_result"):
        return None
    data = _data(given.get("data"))
    if not data:
        return None
    made: dict[str, Any] = {"output_type": kind, "data": data, "metadata": {}}
    if kind == "execute_result":
        made["execution_count"] = None
    return made


def _joined(given: Mapping[str, Any]) -> str:
    value = given.get("text", "")
    if isinstance(value, list):
        return "".join(map(str, value))
    return str(value)


def _data(data: object) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if not isinstance(data, Mapping):
        return made
    for kind, value in data.items():
        if isinstance(value, list):
            value = "".join(map(str, value))
        if not isinstance(value, str):
            continue
        if kind == "text/plain":
            made[kind] = text(value)
        elif kind == "text/latex":
            made[kind] = formula(value)
        elif kind == "text/markdown":
            made[kind] = markdown(value)
        elif kind == "text/html":
            made[kind] = html(value)
        elif kind in IMAGE_TYPES and BASE64.fullmatch(value):
            made[kind] = value
    return made
