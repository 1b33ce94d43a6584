"""Intake: honest accidents are repaired, what cannot be read is held with a reason."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ROOT

from attention_course.author.chapter import read_chapter
from attention_course.grade.contract import Held, Intake
from attention_course.grade.intake import take_in
from attention_course.grade.release import Bundle, read_bundle
from attention_course.grade.sample_class import STUDENTS, submission

SLUG = "04_scaling"
FOLDER = ROOT / "chapters" / SLUG
RELEASE = ROOT / "release" / SLUG / f"{SLUG}.ipynb"
NAMES = (
    "softmax_jacobian",
    "scaled_dot_product_attention",
    "score_gradient",
    "AttentionBlock",
)
Notebook = dict[str, Any]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(ROOT, FOLDER)


@pytest.fixture(scope="module")
def finished_once() -> Notebook:
    made = submission(read_chapter(FOLDER), RELEASE, STUDENTS[1])
    return json.loads(json.dumps(made))


@pytest.fixture
def finished(finished_once: Notebook) -> Notebook:
    """A complete submission of chapter 04, as plain JSON."""
    return copy.deepcopy(finished_once)


def encode(notebook: Notebook) -> bytes:
    return json.dumps(notebook).encode()


def find(notebook: Notebook, identity: str) -> dict[str, Any]:
    return next(c for c in notebook["cells"] if c.get("id") == identity)


def is_answer(cell: dict[str, Any]) -> bool:
    return "answer" in cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def is_check(cell: dict[str, Any]) -> bool:
    return "check" in cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def answers(taken: Intake | Held) -> dict[str, str]:
    assert isinstance(taken, Intake), taken
    return {c.exercise: c.source for c in taken.cells if c.kind == "answer"}  # type: ignore[misc]


def order(taken: Intake) -> list[tuple[str, str | None]]:
    return [(c.kind, c.exercise) for c in taken.cells if c.kind != "markdown"]


def test_a_submission_comes_out_as_it_is(finished: Notebook, bundle: Bundle) -> None:
    taken = take_in(encode(finished), bundle)
    assert isinstance(taken, Intake)
    assert taken.repairs == ()
    assert [c.source for c in taken.cells] == [c["source"] for c in finished["cells"]]
    assert [c.id for c in taken.cells] == [c.id for c in bundle.cells]
    assert [c.exercise for c in taken.cells if c.kind == "check"] == list(NAMES)


def strip_metadata(notebook: Notebook) -> None:
    for number, cell in enumerate(notebook["cells"]):
        cell["metadata"] = {}
        cell["id"] = f"new-{number}"


def strip_ids(notebook: Notebook) -> None:
    for cell in notebook["cells"]:
        del cell["id"]
    notebook["nbformat_minor"] = 4


def give_points(notebook: Notebook) -> None:
    for cell in notebook["cells"]:
        if is_check(cell):
            cell["metadata"]["nbgrader"]["points"] = 1000


def older_schema(notebook: Notebook) -> None:
    for cell in notebook["cells"]:
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"]["schema_version"] = 1
            del cell["metadata"]["nbgrader"]["task"]


def duplicate_all(notebook: Notebook) -> None:
    notebook["cells"] = [c for c in notebook["cells"] for _ in range(2)]


def copy_of_the_empty_cell(notebook: Notebook) -> None:
    empty = copy.deepcopy(
        find(json.loads(RELEASE.read_text()), "answer-AttentionBlock")
    )
    place = notebook["cells"].index(find(notebook, "answer-AttentionBlock"))
    notebook["cells"].insert(place + 1, empty)


def delete_checks(notebook: Notebook) -> None:
    notebook["cells"] = [c for c in notebook["cells"] if not is_check(c)]


def edit_checks(notebook: Notebook) -> None:
    for cell in notebook["cells"]:
        if is_check(cell):
            cell["source"] = "print('15 of 15 points')"


def reverse(notebook: Notebook) -> None:
    notebook["cells"].reverse()


def answers_last(notebook: Notebook) -> None:
    notebook["cells"].sort(key=is_answer)


def split_an_answer(notebook: Notebook) -> None:
    cell = find(notebook, "answer-AttentionBlock")
    place = notebook["cells"].index(cell)
    rows = cell["source"].splitlines(keepends=True)
    middle = next(i for i, r in enumerate(rows) if '"""' in r) + 1
    rest = {"cell_type": "code", "id": "rest", "metadata": {}, "outputs": []}
    rest |= {"execution_count": None, "source": "".join(rows[middle - 1 :])}
    cell["source"] = "".join(rows[: middle - 1]).rstrip("\n")
    notebook["cells"].insert(place + 1, rest)


def lose_the_class(notebook: Notebook) -> None:
    find(notebook, "answer-AttentionBlock")["cell_type"] = "markdown"


def format_three(notebook: Notebook) -> None:
    cells = notebook.pop("cells")
    for cell in cells:
        del cell["id"]
        if cell["cell_type"] == "code":
            cell["input"] = cell.pop("source")
            cell["prompt_number"] = cell.pop("execution_count")
            cell["language"] = "python"
        elif cell["source"].startswith("# "):
            title = cell["source"].splitlines()[0].removeprefix("# ")
            cell |= {"cell_type": "heading", "level": 1, "source": title}
    notebook |= {"worksheets": [{"cells": cells}], "nbformat": 3, "nbformat_minor": 0}


def source_as_rows(notebook: Notebook) -> None:
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)


ACCIDENTS: list[tuple[Callable[[Notebook], None], str]] = [
    (strip_metadata, "had lost its metadata"),
    (strip_ids, ""),
    (give_points, "had edited metadata"),
    (older_schema, "another schema version"),
    (duplicate_all, "was there 2 times"),
    (copy_of_the_empty_cell, "was there 2 times"),
    (delete_checks, "was deleted: put back"),
    (edit_checks, "was changed: put back as released"),
    (reverse, "reversed order"),
    (answers_last, "had been moved"),
    (split_an_answer, "was cut into 2 cells: joined"),
    (lose_the_class, "was no code cell"),
    (format_three, "format 3"),
    (source_as_rows, ""),
]


@pytest.mark.parametrize("accident", ACCIDENTS, ids=lambda a: a[0].__name__)
def test_an_accident_is_repaired(
    accident: tuple[Callable[[Notebook], None], str],
    finished: Notebook,
    bundle: Bundle,
) -> None:
    whole = answers(take_in(encode(finished), bundle))
    change, said = accident
    change(finished)
    taken = take_in(encode(finished), bundle)
    assert isinstance(taken, Intake), taken
    assert {n: s.strip() for n, s in answers(taken).items()} == {
        n: s.strip() for n, s in whole.items()
    }
    parts = [p for p in order(taken) if p[0] in ("answer", "check")]
    assert parts == [(kind, n) for n in NAMES for kind in ("answer", "check")]
    assert said in "; ".join(taken.repairs)
    assert bool(said) == bool(taken.repairs), taken.repairs
    checks = [c.source for c in taken.cells if c.kind == "check"]
    assert checks == [f"check({name})" for name in NAMES]


def test_answers_merged_into_one_cell_stay_there(
    finished: Notebook, bundle: Bundle
) -> None:
    first, second = (find(finished, f"answer-{n.replace('_', '-')}") for n in NAMES[:2])
    first["source"] += "\n\n" + second["source"]
    finished["cells"].remove(second)
    taken = take_in(encode(finished), bundle)
    assert isinstance(taken, Intake)
    assert set(answers(taken)) == set(NAMES) - {NAMES[1]}
    assert f"def {NAMES[1]}" in answers(taken)[NAMES[0]]


def test_a_helper_stays_before_the_check_it_serves(
    finished: Notebook, bundle: Bundle
) -> None:
    place = finished["cells"].index(find(finished, "check-score-gradient"))
    helper = {"cell_type": "code", "metadata": {}, "source": "def helper(): ..."}
    finished["cells"].insert(place, helper)
    taken = take_in(encode(finished), bundle)
    assert isinstance(taken, Intake)
    around = order(taken)
    where = around.index(("student", None))
    assert around[where - 1 : where + 2] == [
        ("answer", "score_gradient"),
        ("student", None),
        ("check", "score_gradient"),
    ]


def test_code_in_a_checks_cell_is_kept_before_the_check(
    finished: Notebook, bundle: Bundle
) -> None:
    cell = find(finished, "check-score-gradient")
    cell["source"] = "def score_gradient(*args): ...\ncheck(score_gradient)"
    taken = take_in(encode(finished), bundle)
    assert isinstance(taken, Intake)
    own = next(c for c in taken.cells if c.kind == "student")
    assert own.source == "def score_gradient(*args): ..."


def test_deleted_parts_are_put_back(finished: Notebook, bundle: Bundle) -> None:
    imports = next(c for c in finished["cells"] if "import math" in c["source"])
    finished["cells"].remove(imports)
    finished["cells"].remove(find(finished, "answer-score-gradient"))
    taken = take_in(encode(finished), bundle)
    assert isinstance(taken, Intake)
    released = {c.exercise: c.source for c in bundle.cells if c.role == "answer"}
    assert answers(taken)["score_gradient"] == released["score_gradient"]
    assert any(c.source == imports["source"] for c in taken.cells)
    assert len(taken.repairs) == 2


def test_a_changed_demo_is_the_students(finished: Notebook, bundle: Bundle) -> None:
    demo = next(c for c in finished["cells"] if c["source"].startswith("Q = seed"))
    demo["source"] += "\nprint('hello')"
    taken = take_in(encode(finished), bundle)
    assert isinstance(taken, Intake)
    kinds = {c.id: c.kind for c in taken.cells}
    assert kinds[demo["id"]] == "student"
    assert taken.repairs == ()


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: BOM + data, "byte order mark"),
        (lambda data: data.replace(b"\n", b"\r\n"), "Windows line ends"),
        (lambda data: data.replace(rb"\n", rb"\r\n"), ""),
        (lambda data: data + b"\n\n", ""),
        (lambda data: data.replace(b"Jacobian", rb"\ud800"), ""),
    ],
    ids=["bom", "crlf", "crlf inside cells", "trailing space", "lone surrogate"],
)
def test_odd_bytes_are_read(
    change: Callable[[bytes], bytes], said: str, finished: Notebook, bundle: Bundle
) -> None:
    data = json.dumps(finished, indent=1).encode()
    taken = take_in(change(data), bundle)
    assert isinstance(taken, Intake), taken
    assert said in "; ".join(taken.repairs)
    assert set(answers(taken)) == set(NAMES)
    for cell in taken.cells:
        assert "\r" not in cell.source
        cell.source.encode()


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


DEEP = b'{"cells": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"

UNREADABLE: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "empty": (lambda d: b"", "empty", "ask for another copy"),
    "zeros": (lambda d: b"\0" * 5000, "empty", "ask for another copy"),
    "truncated": (truncate, "truncated", r"breaks off at byte \d+"),
    "spoilt": (
        lambda d: d[:3000] + b"}}}" + d[3000:].replace(b'"', b""),
        "not JSON",
        r"not valid JSON at byte \d+: ask for another copy",
    ),
    "latin-1": (
        lambda d: d.replace(b"Jacobian", "Jacobi\xe4n".encode("latin-1")),
        "not UTF-8",
        r"not UTF-8 text at byte \d+",
    ),
    "utf-16": (lambda d: d.decode().encode("utf-16"), "not UTF-8", "byte"),
    "html": (lambda d: b"<!DOCTYPE html><html></html>", "not JSON", "byte 0"),
    "a list": (lambda d: b"[1, 2]", "not a notebook", "not a notebook"),
    "cells are a number": (lambda d: b'{"cells": 7}', "not a notebook", ""),
    "no cells": (lambda d: b'{"cells": [], "nbformat": 4}', "no cells", "empty"),
    "deep": (lambda d: DEEP, "not JSON", "nested"),
    "millions": (
        lambda d: b'{"cells": [' + b"[]," * 1_600_000 + b"[]]}",
        "too large",
        "millions",
    ),
    "many cells": (
        lambda d: json.dumps({"cells": [{}] * 5000}).encode(),
        "too many cells",
        "5000 cells",
    ),
    "a huge cell": (
        lambda d: d.replace(b"Jacobian", b"J" * 2_000_000, 1),
        "too large",
        "characters",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_held(
    name: str, finished: Notebook, bundle: Bundle
) -> None:
    change, reason, said = UNREADABLE[name]
    held = take_in(change(encode(finished)), bundle)
    assert isinstance(held, Held), held
    assert held.reason == reason
    assert re.search(said, held.detail), held.detail


def test_the_byte_is_the_right_one(finished: Notebook, bundle: Bundle) -> None:
    data = json.dumps(finished, ensure_ascii=False).encode()
    place = data.index(b'"metadata"')
    broken = data[:place] + b"!" + data[place + 1 :]
    held = take_in(broken, bundle)
    assert isinstance(held, Held)
    assert f"at byte {place}:" in held.detail


def test_another_chapters_notebook_is_held(bundle: Bundle) -> None:
    other = (ROOT / "release" / "05_masks" / "05_masks.ipynb").read_bytes()
    held = take_in(other, bundle)
    assert isinstance(held, Held)
    assert held.reason == "wrong chapter"
    assert "05" in held.detail


def test_odd_values_in_cells_do_no_harm(finished: Notebook, bundle: Bundle) -> None:
    finished["cells"][0]["metadata"] = {"nbgrader": ["no", "dict"]}
    finished["cells"][1]["metadata"] = None
    finished["cells"][3]["id"] = {"a": 1}
    finished["cells"] += [None, 7, {"cell_type": []}, {"source": {"a": 1}}]
    finished["metadata"] = {"number": 12345}
    huge = encode(finished).replace(b"12345", b"1" * 5000)
    taken = take_in(huge, bundle)
    assert isinstance(taken, Intake), taken
    assert "4 cells could not be read" in "; ".join(taken.repairs)
    assert set(answers(taken)) == set(NAMES)
