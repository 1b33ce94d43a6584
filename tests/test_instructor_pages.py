"""Every command in the instructor's pages that is marked `sh` is run, in its order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, needs_sandbox
from traitlets.config import Config

from attention_course.author.chapter import read_chapter
from attention_course.grade.sample_class import Student, submission
from attention_course.learn.handing_in import hand_in as student_hand_in

PAGES = ROOT / "docs" / "instructor"
SLUG = "04_scaling"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FROM_THE_CHECKOUT = ("bundle",)
"""Commands that need the whole course, and are run where it is."""


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language in a page."""
    text = (PAGES / page).read_text(encoding="utf-8")
    return [code for name, code in BLOCK.findall(text) if name == language]


def hand_in(course: Path, student: str) -> None:
    chapter = read_chapter(ROOT / "chapters" / SLUG)
    released = ROOT / "release" / SLUG / f"{SLUG}.ipynb"
    target = course / "submitted" / student / SLUG / f"{SLUG}.ipynb"
    target.parent.mkdir(parents=True)
    import nbformat

    nbformat.write(submission(chapter, released, Student(student, ())), target)


def inbox(course: Path) -> None:
    """What students sent by mail, and what an LMS has put into one archive."""
    folder = course / "inbox"
    folder.mkdir()
    released = ROOT / "release" / SLUG / f"{SLUG}.ipynb"
    shutil.copy(released, folder / "ada.ipynb")
    with zipfile.ZipFile(folder / "submissions.zip", "w") as archive:
        archive.write(released, f"ben_1234_5678_{SLUG}.ipynb")
        packed = folder / f"dan-{SLUG}.zip"
        student_hand_in(released.parent, "dan", packed)
        archive.write(packed, f"dan_1234_5679_dan-{SLUG}.zip")
    packed.unlink()
    student_hand_in(released.parent, "cam", folder / f"cam-{SLUG}.zip")


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course folder with chapter 04, and nothing handed in."""
    root = tmp_path / "course"
    for name in ("chapters", "source", "release"):
        shutil.copytree(ROOT / name / SLUG, root / name / SLUG)
    for name in ("nbgrader_config.py", "requirements.lock"):
        shutil.copy(ROOT / name, root)
    return root


def shell(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block as an instructor would, and stop at the first command that fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    told = f"{code}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
    assert ended.returncode == 0, told
    return ended


def with_two(course: Path) -> None:
    for student in ("ada", "ben"):
        hand_in(course, student)


SCENES: dict[str, Callable[[Path], None]] = {
    "first-week.md": lambda course: None,
    "collecting.md": inbox,
    "grading.md": with_two,
    "regrading.md": with_two,
    "overriding.md": with_two,
    "late-work.md": with_two,
    "exporting.md": with_two,
    "adding-a-chapter.md": lambda course: None,
}
"""What lies in the course's folder before the first command of a page."""

FIRST = {
    "regrading.md": f"attention-course grade {SLUG}",
    "overriding.md": f"attention-course grade {SLUG}",
    "exporting.md": f"attention-course grade {SLUG}",
}
"""What an instructor has done before, as the page presumes."""


@needs_sandbox
@pytest.mark.parametrize("page", SCENES)
def test_the_commands_of_a_page_run(page: str, course: Path) -> None:
    SCENES[page](course)
    if page in FIRST:
        shell(FIRST[page], course)
    found = blocks(page, "sh")
    assert found, f"{page} has no command"
    for code in found:
        words = code.split()
        from_here = words[:1] == ["attention-course"] and words[1] in FROM_THE_CHECKOUT
        if from_here:
            code = code.replace("-o ", f"-o {course}/")
        shell(code, ROOT if from_here else course)


def test_no_page_is_left_out() -> None:
    """A page with commands has a scene; a page without has none that could run."""
    for path in PAGES.glob("*.md"):
        assert bool(blocks(path.name, "sh")) == (path.name in SCENES), path.name
        languages = {name for name, _ in BLOCK.findall(path.read_text("utf-8"))}
        assert languages <= {"sh", "console", "python"}, path.name


def test_links_between_pages_lead_somewhere() -> None:
    for path in PAGES.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_a_failing_command_is_seen(course: Path) -> None:
    with pytest.raises(AssertionError, match="no chapter"):
        shell("attention-course grade 77_nothing\nls", course)


# Configurations that no test can start a cluster for are read as their programs would.

DEPLOY = ROOT / "deploy"


def run_config(code: str) -> Config:
    """Run a traitlets configuration file, and return what it sets."""
    made = Config()
    code = code.replace("from traitlets.config import get_config", "")
    exec(code, {"get_config": lambda *a: made if not a else f"<{a[0]}>", "c": made})
    return made


def test_python_blocks_are_python() -> None:
    for path in PAGES.glob("*.md"):
        for code in blocks(path.name, "python"):
            compile(code, path.name, "exec")


def test_every_configuration_of_the_littlest_hub_is_installed() -> None:
    page = (PAGES / "hub.md").read_text(encoding="utf-8")
    for path in (DEPLOY / "tljh").iterdir():
        assert re.search(rf"^cp .*deploy/tljh/{path.name} ", page, re.M), path.name


@pytest.mark.parametrize("path", sorted((DEPLOY / "tljh").glob("*.py")), ids=str)
def test_the_littlest_hubs_configuration_loads(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "jupyter-instructor")
    made = run_config(path.read_text(encoding="utf-8"))
    assert made
    if path.name == "jupyter_server_config.py":
        monkeypatch.setenv("USER", "jupyter-ada")
        assert not run_config(path.read_text(encoding="utf-8"))
    if path.name == "nbgrader_config.py":
        from nbgrader.exchange import ExchangeFactory

        assert ExchangeFactory(config=made).submit.__name__ == "PrivateSubmit"


def test_the_hub_on_kubernetes_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "ada")  # as in everybody's pod
    values = yaml.safe_load((DEPLOY / "kubernetes" / "hub-values.yaml").read_text())
    ours = Config()
    ours.JupyterHub.services = []
    code = values["hub"]["extraConfig"]["ngshare"]
    exec(code, {"c": ours, "get_config": lambda name: f"<{name}>"})
    (service,) = ours.JupyterHub.services
    assert service["api_token"] == "<custom.ngshareToken>"
    file = values["singleuser"]["extraFiles"]["nbgrader_config"]
    made = run_config(file["stringData"])
    assert made.ExchangeFactory.submit.__module__.startswith("ngshare_exchange")
    assert made.CourseDirectory.course_id == "attention"
    server = values["singleuser"]["extraFiles"]["server_config"]["stringData"]
    for user, frames in (("ada", False), ("instructor", True)):
        monkeypatch.setenv("JUPYTERHUB_USER", user)
        assert bool(run_config(server)) is frames
    other = yaml.safe_load((DEPLOY / "kubernetes" / "ngshare-values.yaml").read_text())
    token = values["custom"]["ngshareToken"]
    assert other["ngshare"]["hub_api_token"] == token


def test_the_cluster_on_kubernetes_lets_the_sandbox_work() -> None:
    text = (DEPLOY / "kubernetes" / "dask-cluster.yaml").read_text()
    cluster = yaml.safe_load(text)
    worker = cluster["spec"]["worker"]["spec"]
    assert worker["hostUsers"] is False
    (container,) = worker["containers"]
    assert container["securityContext"]["procMount"] == "Unmasked"
    assert container["args"][:2] == ["dask", "worker"]
    ports = cluster["spec"]["scheduler"]["service"]["ports"]
    assert 8786 in {p["port"] for p in ports}
