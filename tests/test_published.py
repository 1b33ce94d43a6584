"""Opening a chapter on Colab, on Binder, in a devcontainer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement

from attention_course.author.build import build, is_current, write_index
from attention_course.author.chapter import read_chapter
from attention_course.author.editions import lesson_notebook, source_notebook
from attention_course.author.published import (
    binder_url,
    colab_url,
    first_cell,
    release_index,
    repository,
)

SLUGS = [p.parent.name for p in sorted((ROOT / "chapters").glob("*/chapter.py"))]
ADDRESS = "https://github.com/someone/course"


def test_the_course_names_its_address() -> None:
    address = repository(ROOT)
    assert address is not None
    assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address)


@pytest.mark.parametrize("slug", SLUGS)
def test_the_links_point_at_files_of_the_repository(slug: str) -> None:
    colab = urlsplit(colab_url(ADDRESS, slug)).path
    start = "/github/someone/course/blob/main/"
    assert colab.startswith(start)
    assert (ROOT / colab.removeprefix(start)).is_file()
    binder = urlsplit(binder_url(ADDRESS, slug))
    assert binder.path == "/v2/gh/someone/course/main"
    opened = parse_qs(binder.query)["urlpath"][0]
    assert (ROOT / opened.removeprefix("lab/tree/")).is_file()


def test_the_index_lists_every_chapter_and_its_links_hold() -> None:
    index = release_index(ROOT, SLUGS)
    assert index is not None
    links = re.findall(r"\]\(([^)]+)\)", index)
    inside = [link for link in links if "://" not in link]
    assert [link.split("/")[0] for link in inside] == SLUGS
    assert all((ROOT / "release" / link).is_file() for link in inside)
    outside = [link for link in links if "://" in link]
    assert len(outside) == 4 * len(SLUGS)  # two badges, two links


def test_the_index_is_written_once_and_found_stale(tiny: Path) -> None:
    assert write_index(tiny), "a course without an address has no index"
    (tiny / "CITATION.cff").write_text(f"repository-code: {ADDRESS}/\n")
    (tiny / "release").mkdir()
    assert not write_index(tiny, check=True)
    assert not (tiny / "release" / "README.md").exists()
    assert not write_index(tiny)
    assert write_index(tiny)


# The first cell


def test_it_stands_before_the_first_code_but_not_in_the_lesson(tiny: Path) -> None:
    chapter = read_chapter(tiny / "chapters" / "90_tiny")
    assert "colab" not in [c.id for c in source_notebook(chapter).cells]
    (tiny / "CITATION.cff").write_text(f"repository-code: {ADDRESS}\n")
    cells = source_notebook(chapter).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert code[0].id == "colab"
    assert "nbgrader" not in code[0].metadata
    assert "colab" not in [c.id for c in lesson_notebook(chapter).cells]


def test_it_goes_through_nbgrader_into_release_and_solution(tiny: Path) -> None:
    folder = tiny / "chapters" / "90_tiny"
    (tiny / "CITATION.cff").write_text(f"repository-code: {ADDRESS}\n")
    assert not build(tiny, [folder], jobs=1).failed
    for edition in ("release", "solutions"):
        path = tiny / edition / "90_tiny" / "90_tiny.ipynb"
        cells = nbformat.read(path, as_version=4).cells
        cell = next(cell for cell in cells if cell.id == "colab")
        assert cell.source == first_cell(tiny, "90_tiny")
        assert cell.outputs == []
    (tiny / "CITATION.cff").write_text(f"repository-code: {ADDRESS}-moved\n")
    assert not is_current(tiny, folder)


PLAY = """
import sys, subprocess, urllib.request, types
said = []
subprocess.run = lambda command, check: said.append(command)
urllib.request.urlretrieve = lambda url, target: said.append((url, target))
if {colab}:
    sys.modules["google.colab"] = types.ModuleType("google.colab")
exec({source!r})
print(said)
"""


def played(source: str, *, colab: bool) -> list:
    code = textwrap.dedent(PLAY).format(colab=colab, source=source)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return eval(done.stdout)


@pytest.mark.parametrize("slug", SLUGS)
def test_it_does_nothing_but_on_colab(slug: str) -> None:
    source = first_cell(ROOT, slug)
    assert source is not None
    assert max(map(len, source.splitlines())) <= 88
    assert played(source, colab=False) == []
    install, (url, target) = played(source, colab=True)
    assert install[1:4] == ["-m", "pip", "install"]
    address = repository(ROOT)
    requirement = Requirement(f"attention-course @ {install[-1]}")
    assert requirement.url == f"git+{address}"
    path = url.removeprefix(f"{address}/raw/main/")
    assert (ROOT / path).is_file()
    assert Path(path).name == target == "checks.safetensors"


# Configurations


def test_binder_installs_the_lock_and_the_course() -> None:
    folder = ROOT / ".binder"
    lines = (folder / "requirements.txt").read_text().splitlines()
    files = [line.removeprefix("-r ") for line in lines if line.startswith("-r")]
    assert [(folder / f).resolve() for f in files] == [ROOT / "requirements.lock"]
    version = (folder / "runtime.txt").read_text().strip().removeprefix("python-")
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert f"python={version}" in environment["dependencies"]
    subprocess.run(["sh", "-n", str(folder / "postBuild")], check=True)
    assert (folder / "postBuild").stat().st_mode & 0o111


def test_the_devcontainer_sets_up_what_there_is() -> None:
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text()
    config = json.loads(text)
    assert config["image"].split(":")[1] == "3.11"
    target = config["postCreateCommand"].removeprefix("make ")
    assert re.search(rf"(?m)^{target}:", (ROOT / "Makefile").read_text())
    settings = config["customizations"]["vscode"]["settings"]
    path = settings["python.defaultInterpreterPath"]
    assert path.endswith("/.venv/bin/python")


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda p: p.name
)
def test_workflows_run_targets_that_there_are(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    steps = [s for job in workflow["jobs"].values() for s in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands
    for command in commands:
        for target in re.findall(r"\bmake ([a-z-]+)", command):
            assert re.search(rf"(?m)^{target}:", makefile)
        for script in re.findall(r"bash (\S+)", command):
            assert (ROOT / script).is_file()


def test_the_locks_name_no_registry() -> None:
    """Whoever installs chooses where from."""
    for name in ("website/package-lock.json", "requirements.lock"):
        assert "://" not in (ROOT / name).read_text(encoding="utf-8")


def test_the_system_script_is_a_shell_script_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    script = str(ROOT / "tools" / "system.sh")
    subprocess.run(["sh", "-n", script], check=True)
    (tmp_path / "sh").symlink_to("/bin/sh")
    done = subprocess.run(
        ["/bin/sh", script, "--check"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "bubblewrap chromium" in done.stdout
