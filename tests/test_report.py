"""The report counts what the results say, and shows it harmlessly."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from conftest import ROOT

from attention_course import cli
from attention_course.author.chapter import read_chapter
from attention_course.author.exercise import load_exercises
from attention_course.grade import report_page
from attention_course.grade.insight import insight, section
from attention_course.grade.report import as_csv
from attention_course.learn import figures

SLUG = "04_scaling"
FOLDER = ROOT / "chapters" / SLUG
POINTS = read_chapter(FOLDER).points
EXERCISES = load_exercises(FOLDER / "exercises.py")


def entry(name: str, status: str, mistake: str | None = None) -> dict[str, Any]:
    """One exercise of a result: all points, none, or all but those of one aspect."""
    points = POINTS[name]
    shares = {"values": points - 1.0, "gradients": 1.0}
    lost = {"complete": (), "partial": ("gradients",)}.get(status, tuple(shares))
    aspects = [
        {
            "name": aspect,
            "points": share,
            "earned": 0.0 if aspect in lost else share,
            "mistake": mistake if aspect in lost else None,
            "message": "told" if aspect in lost else "",
        }
        for aspect, share in shares.items()
    ]
    earned = sum(a["earned"] for a in aspects)
    return {
        "name": name,
        "points": points,
        "earned": earned,
        "status": status,
        "mistake": mistake,
        "message": "" if status == "complete" else "told",
        "aspects": aspects,
    }


def graded(student: str, **spoiled: tuple[str, str | None]) -> dict[str, Any]:
    entries = [entry(n, *spoiled.get(n, ("complete", None))) for n in POINTS]
    return {
        "schema": 1,
        "student": student,
        "chapter": SLUG,
        "outcome": "graded",
        "reason": None,
        "detail": None,
        "score": sum(e["earned"] for e in entries),
        "max_score": sum(POINTS.values()),
        "exercises": entries,
        "flags": [],
    }


def held(student: str) -> dict[str, Any]:
    return {
        **graded(student),
        "outcome": "held",
        "reason": "not JSON",
        "detail": "not valid JSON at byte 3017: ask for another copy",
        "score": None,
        "exercises": [],
    }


FIRST, SECOND = list(EXERCISES["softmax_jacobian"].mistakes)[:2]
EVIL = "<img src=x onerror=alert(1)>"
CLASS = [
    graded("ada"),
    graded("ben", softmax_jacobian=("wrong", FIRST)),
    graded("cai", softmax_jacobian=("wrong", FIRST)),
    graded("dee", softmax_jacobian=("partial", SECOND)),
    graded("eve", score_gradient=("wrong", None)),
    graded("fay", AttentionBlock=("blank", None)),
    {**graded(EVIL), "flags": ["shortcut: <script>alert(1)</script>"]},
    held("=HYPERLINK(1)"),
]


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course folder with the class's results."""
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / SLUG).symlink_to(FOLDER)
    folder = tmp_path / ".attention-course" / "results" / SLUG
    folder.mkdir(parents=True)
    for index, result in enumerate(CLASS):
        (folder / f"{index}.json").write_text(json.dumps(result))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_counts_what_the_results_say() -> None:
    made = insight(FOLDER, CLASS)
    assert (made.graded, len(made.held), len(made.flagged)) == (7, 1, 1)
    jacobian = made.exercises["softmax_jacobian"]
    assert jacobian.statuses == {"complete": 4, "partial": 1, "wrong": 2, "blank": 0}
    assert [(m.name, m.count) for m in jacobian.mistakes] == [(FIRST, 2), (SECOND, 1)]
    assert jacobian.mistakes[0].students == ["ben", "cai"]
    assert (
        jacobian.mistakes[0].hint == EXERCISES["softmax_jacobian"].mistakes[FIRST].hint
    )
    full = POINTS["softmax_jacobian"]
    assert jacobian.earned == pytest.approx((4 * full + (full - 1)) / 7, abs=1e-3)
    assert jacobian.aspects["values"].lost_by == 2
    assert jacobian.aspects["gradients"].lost_by == 3
    assert made.exercises["score_gradient"].unknown == 1
    assert made.exercises["AttentionBlock"].statuses["blank"] == 1
    assert made.exercises["AttentionBlock"].unknown == 0
    assert [m.name for _, m in made.teach_again()] == [FIRST, SECOND]


def test_summaries_are_those_of_the_scores() -> None:
    made = insight(FOLDER, [])
    made.scores = [1.0, 2.0, 3.0, 4.0, 10.0]
    assert made.summary() == {
        "mean": 4.0,
        "lower_quartile": 2.0,
        "median": 3.0,
        "upper_quartile": 4.0,
    }
    made.scores = [7.0]
    assert made.summary()["median"] == 7.0


def test_a_mistake_is_traced_to_its_section() -> None:
    chapter = read_chapter(FOLDER)
    headings = {name: section(chapter, name) for name in POINTS}
    text = (FOLDER / "chapter.py").read_text(encoding="utf-8")
    for heading in headings.values():
        assert f"# ## {heading}\n" in text
    assert len(set(headings.values())) > 1


def test_the_command_writes_a_page_and_tables(course: Path, capsys: Any) -> None:
    assert cli.main(["report", "04"]) == 0
    assert f"2 made the mistake '{FIRST.replace('_', ' ')}'" in capsys.readouterr().out
    folder = course / "report" / SLUG
    page = BeautifulSoup((folder / "index.html").read_text("utf-8"), "html.parser")
    assert not page.find_all(["script", "iframe", "link"])
    assert [i for i in page.find_all("img") if not i.get("alt")] == []
    assert all(i["src"].startswith("data:image/svg+xml;") for i in page.find_all("img"))
    assert len(page.find_all("img")) == 3
    text = page.get_text()
    assert EVIL in text
    assert "not valid JSON at byte 3017" in text
    assert EXERCISES["softmax_jacobian"].mistakes[FIRST].hint.split("`")[0] in text
    data = json.loads((folder / "report.json").read_text("utf-8"))
    assert data["exercises"][0]["mistakes"][0]["count"] == 2
    assert data["summary"]["median"] == 12
    rows = list(csv.reader((folder / "scores.csv").open(encoding="utf-8")))
    assert len(rows) == 1 + len(CLASS)
    assert rows[-1][0] == "'=HYPERLINK(1)"
    names = list(csv.reader((folder / "mistakes.csv").open(encoding="utf-8")))
    assert names[1][:3] == ["softmax_jacobian", FIRST, "2"]


def test_json_is_printed_for_programs(course: Path, capsys: Any) -> None:
    assert cli.main(["report", SLUG, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["graded"] == 7


def test_without_results_it_says_what_to_run(course: Path, capsys: Any) -> None:
    for path in (course / ".attention-course" / "results" / SLUG).iterdir():
        path.unlink()
    assert cli.main(["report", SLUG]) == 2
    assert f"run `attention-course grade {SLUG}`" in capsys.readouterr().err


def test_figures_draw_what_was_counted() -> None:
    made = insight(FOLDER, CLASS)
    (drawn,) = figures.figure_data(report_page.mistakes_figure(made))
    assert [2.0, 1.0] in [list(map(float, b["values"])) for b in drawn["bars"]]
    (drawn,) = figures.figure_data(report_page.exercises_figure(made))
    widths = [list(map(float, b["values"])) for b in drawn["bars"]]
    sums = [sum(column) for column in zip(*widths, strict=True)]
    assert sums == pytest.approx([100.0] * len(POINTS))


def test_csv_has_no_formula() -> None:
    text = as_csv([["=1+1", "+1", "-1", "@x", "fine", -1.5, None]])
    assert text == "'=1+1,'+1,'-1,'@x,fine,-1.5,\n"


def test_nobody_graded_is_said() -> None:
    assert "Nobody" in report_page.page(insight(FOLDER, [held("ada")]))
