"""One lock for pip and conda, in step with pyproject; imports run one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement

PACKAGE = ROOT / "src" / "attention_course"


def locked() -> dict[str, str]:
    rows = (ROOT / "requirements.lock").read_text().splitlines()
    pairs = [row.split("==") for row in rows if row and not row.startswith("#")]
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def test_conda_and_pip_read_the_same_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert "--requirement requirements.lock" in pip
    others = [d for d in environment["dependencies"] if isinstance(d, str)]
    assert others == ["python=3.11", "pip"], "packages belong in requirements.lock"
    assert "--requirement requirements.lock" in (ROOT / "Makefile").read_text()


def test_the_lock_pins_everything_that_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted += extra
    versions = locked()
    for text in wanted:
        requirement = Requirement(text)
        version = versions[requirement.name.lower()]
        assert requirement.specifier.contains(version), f"{text}: locked {version}"


def test_the_lock_pins_torch_without_a_build() -> None:
    assert re.fullmatch(r"[0-9.]+", locked()["torch"])


WINGS = {"learn": set(), "author": {"learn"}, "grade": {"learn", "author"}}


@pytest.mark.parametrize("wing", WINGS)
def test_imports_run_one_way(wing: str) -> None:
    for path in (PACKAGE / wing).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name.startswith("attention_course."):
                    other = name.split(".")[1]
                    assert other in WINGS[wing] | {wing}, f"{path} imports {name}"


def test_a_students_import_reaches_no_author_and_draws_nothing() -> None:
    code = (
        "import sys, attention_course.learn, attention_course.learn.figures\n"
        "bad = [m for m in sys.modules if m.startswith(('attention_course.author', "
        "'attention_course.grade', 'matplotlib', 'sklearn', 'skimage', 'nbgrader'))]\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


WORDS = re.compile(r"\b(TODO|FIXME|XXX)\b")


def test_nothing_is_left_for_later() -> None:
    files = [
        *PACKAGE.rglob("*.py"),
        *(ROOT / "chapters").rglob("*.py"),
        *(ROOT / "benchmarks").rglob("*.py"),
    ]
    assert len(files) > 20
    assert [str(f) for f in files if WORDS.search(Path(f).read_text())] == []
