"""A class on a real JupyterHub: fetch, work, submit, collect, grade, give feedback."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from browser import chromium, keep, needs_chromium
from conftest import RIGHT_ANSWERS, ROOT, needs_sandbox
from hub_client import Visitor, wait_for_hub
from lab import Notebook

from attention_course.author.chapter import BEGIN, END, read_chapter
from attention_course.hub.people import COURSE, people
from attention_course.hub.ports import free_port, is_free

SLUG = "00_orientation"
TINY = "90_tiny"
SECONDS = 120_000
PROXY = ROOT / "build" / "node" / "node_modules" / ".bin" / "configurable-http-proxy"

pytestmark = [
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0,
        reason="a hub starts servers under several user ids: run the tests as root",
    ),
    pytest.mark.skipif(
        not shutil.which("bwrap"), reason="bubblewrap is not installed: `make setup`"
    ),
    pytest.mark.skipif(
        not PROXY.exists(),
        reason="the hub's proxy is not installed: `make hub-setup` (needs Node.js)",
    ),
]


@dataclass
class Class:
    """A running hub and its people."""

    address: str
    folder: Path
    password: str
    server: subprocess.Popen[bytes]
    instructor: Visitor
    ada: Visitor
    ben: Visitor


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, built_tiny: Path) -> Iterator[Class]:
    """The hub that `make hub` starts, on a course of two chapters."""
    course = tmp_path_factory.mktemp("course")
    for name in ("chapters", "source"):
        shutil.copytree(ROOT / name / SLUG, course / name / SLUG)
        shutil.copytree(built_tiny / name / TINY, course / name / TINY)
    shutil.copy(ROOT / "nbgrader_config.py", course)
    folder = tmp_path_factory.mktemp("hub")
    for parent in [folder, *folder.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    port = free_port()
    with (folder / "hub.log").open("w") as log:
        server = subprocess.Popen(
            [*command_of_make(port), str(folder), "--course", str(course)],
            stdout=log,
            stderr=log,
            cwd=ROOT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for_hub(address, server)
        password = (folder / "password").read_text(encoding="utf-8")
        class_ = [Visitor(address, n, password) for n in ("instructor", "ada", "ben")]
        for visitor in class_:
            visitor.start()
        yield Class(address, folder, password, server, *class_)
    except BaseException:
        print((folder / "hub.log").read_text())  # pytest shows it
        raise
    finally:
        server.terminate()
        server.wait(60)


def command_of_make(port: int) -> list[str]:
    """What `make hub` runs in the course's folder, less the hub's own folder."""
    told = subprocess.run(
        ["make", "--dry-run", "hub", f"PORT={port}", f"VENV={sys.prefix}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (line,) = [row for row in told.splitlines() if "attention_course.hub" in row]
    words = shlex.split(line)
    words.remove("build/hub")
    return words


def answered(notebook: dict, wrong: str = "") -> dict:
    """The notebook with the course's answers; `wrong` names one left out."""
    chapter = read_chapter(ROOT / "chapters" / SLUG)
    answers = {c.exercise: c.source for c in chapter.cells if c.role == "answer"}
    for cell in notebook["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        role, _, exercise = grade_id.partition("_")
        if role == "answer" and exercise != wrong:
            rows = answers[exercise].splitlines()
            cell["source"] = "\n".join(r for r in rows if r.strip() not in (BEGIN, END))
    return notebook


def test_the_whole_loop(hub: Class) -> None:
    button = f"formgrader/api/assignment/{SLUG}"
    for action in ("assign", "release"):
        told = hub.instructor.post(f"{button}/{action}")
        assert told["success"], told

    facts = {"course_id": COURSE, "assignment_id": SLUG}
    path = f"{SLUG}/{SLUG}.ipynb"
    for student, wrong in ((hub.ada, ""), (hub.ben, "stable_softmax")):
        assert student.post("assignments/fetch", **facts)["success"]
        model = student.get(f"api/contents/{path}")
        model["content"] = answered(model["content"], wrong)
        body = {"type": "notebook", "format": "json", "content": model["content"]}
        student.put(f"api/contents/{path}", body)
        assert student.post("assignments/submit", **facts)["success"]

    told = hub.instructor.post(f"{button}/collect")
    assert told["success"], told
    for name in ("ada", "ben"):
        button_of_one = f"formgrader/api/submission/{SLUG}/{name}/autograde"
        told = hub.instructor.post(button_of_one)
        assert told["success"], told
    found = hub.instructor.get(f"formgrader/api/submissions/{SLUG}")
    scores = {s["student"]: (s["score"], s["max_score"]) for s in found}
    points = read_chapter(ROOT / "chapters" / SLUG).points
    everything = sum(points.values())
    assert scores["ada"] == (everything, everything)
    assert scores["ben"] == (everything - points["stable_softmax"], everything)

    for action in ("generate_feedback", "release_feedback"):
        told = hub.instructor.post(f"{button}/{action}")
        assert told["success"], told
    assert hub.ben.post("assignments/fetch_feedback", **facts)["success"]
    read = hub.ben.run(
        "from pathlib import Path\n"
        f"for page in Path('{SLUG}/feedback').rglob('*.html'):\n"
        "    text = page.read_text(encoding='utf-8')\n"
        "    print('stable_softmax: not written yet' in text)"
    )
    assert read.strip() == "True"


def log_in(browser: Any, hub: Class, name: str) -> Any:
    """A person's tab, in which Lab is open."""
    tab = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    tab.goto(f"{hub.address}/hub/login")
    tab.fill("input[name=username]", name)
    tab.fill("input[name=password]", hub.password)
    tab.keyboard.press("Enter")
    tab.wait_for_url(re.compile("/lab"), timeout=SECONDS)
    return tab


def choose(tab: Any, entry: str) -> None:
    """Choose an entry of Lab's menu Nbgrader."""
    menu = tab.locator(".lm-MenuBar-itemLabel", has_text="Nbgrader")
    menu.click(timeout=SECONDS)
    tab.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{entry}$")).click()


def press(frame: Any, button: str, told: str) -> None:
    """Press one of Formgrader's buttons, read what it says, and close that."""
    frame.locator(button).first.click(timeout=SECONDS)
    dialog = frame.locator(".modal .modal-content")
    dialog.wait_for(timeout=SECONDS)
    assert told in dialog.inner_text()
    dialog.locator("button", has_text="OK").click()
    dialog.wait_for(state="detached", timeout=SECONDS)


@needs_chromium
@needs_sandbox
def test_the_whole_loop_in_a_browser(hub: Class) -> None:
    """What people press in Lab: Formgrader, a student's Assignment List."""
    with chromium() as browser:
        instructor = log_in(browser, hub, "instructor")
        choose(instructor, "Formgrader")
        frame = instructor.frame_locator("iframe").first
        row = f"tr:has-text('{TINY}')"
        press(frame, f"{row} .assign a", "Successfully created")
        press(frame, f"{row} .release a", "Successfully released")
        keep(instructor, "hub-formgrader")

        ada = log_in(browser, hub, "ada")
        choose(ada, "Assignment List")
        fetched = ada.locator("#fetched_assignments_list")
        offered = ada.locator("#released_assignments_list .list_item", has_text=TINY)
        offered.get_by_role("button", name="Fetch").click(timeout=SECONDS)
        fetched.get_by_text(TINY).first.wait_for(timeout=SECONDS)

        server = f"{hub.address}/user/ada"
        notebook = Notebook(ada, server, f"{TINY}/{TINY}.ipynb", token="")
        notebook.run_all()
        squares = "def double(x):\n    return x * x"
        for name, code in (RIGHT_ANSWERS | {"double": squares}).items():
            notebook.write(notebook.cell(f"def {name}"), code)
        check = notebook.cell("check(double)")
        notebook.run(check)
        assert "You squared it." in notebook.output(check)
        ada.keyboard.press("Control+s")
        ada.wait_for_timeout(1000)
        choose(ada, "Assignment List")
        mine = fetched.locator(".list_item", has_text=TINY).first
        mine.get_by_role("button", name="Submit").click(timeout=SECONDS)
        handed_in = ada.locator("#submitted_assignments_list")
        handed_in.get_by_text(TINY).first.wait_for(timeout=SECONDS)
        keep(ada, "hub-handed-in")

        press(frame, f"{row} .collect a", "Successfully collected")
        frame.locator(f"{row} .num-submissions a").click(timeout=SECONDS)
        press(frame, "tr:has-text('ada') .autograde a", "Successfully autograded")
        frame.locator("tr", has_text="ada").get_by_text("1.5 / 3.5").wait_for()
        keep(instructor, "hub-graded")
        row = "tr:has-text('ada')"
        press(frame, f"{row} .generate-feedback a", "Successfully generated")
        press(frame, f"{row} .release-feedback a", "Successfully released")

        ada.locator("#refresh_assignments_list").click()
        graded = handed_in.locator(".list_item", has_text=TINY).first
        graded.get_by_text("Fetch Feedback").click(timeout=SECONDS)
        (page,) = wait_for_files(hub.folder / "home" / "ada" / TINY / "feedback")
        inside = page.relative_to(hub.folder / "home" / "ada")
        ada.goto(f"{server}/lab/tree/{inside}")
        feedback = ada.frame_locator(".jp-HTMLViewer iframe, iframe").first
        feedback.get_by_text("You squared it.").first.wait_for(timeout=SECONDS)
        keep(ada, "hub-feedback")


def wait_for_files(folder: Path) -> list[Path]:
    """The pages of feedback in a folder, as soon as there are any."""
    deadline = time.monotonic() + SECONDS / 1000
    while time.monotonic() < deadline:
        if found := list(folder.rglob("*.html")):
            return found
        time.sleep(0.2)
    raise AssertionError(f"no feedback in {folder}")


SPY = """
import json, os
from pathlib import Path

def listed(path):
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        return type(error).__name__

def read(path):
    try:
        return Path(path).read_bytes()[:20].decode("latin-1")
    except OSError as error:
        return type(error).__name__

found = {
    "who": os.getuid(),
    "homes": listed("/home"),
    "inbound": listed("/srv/nbgrader/exchange/attention/inbound"),
    "other_home": listed("/home/ada"),
    "course": listed("/home/instructor/attention"),
    "outside": [listed(PATH) for PATH in OUTSIDE],
    "files": [read(PATH) for PATH in FILES],
    "owners": sorted({p.stat().st_uid for p in Path("/proc").glob("[0-9]*")}),
    "wings": [],
}
for wing in ("author", "grade"):
    try:
        __import__(f"attention_course.{wing}.build")
        found["wings"].append(wing)
    except ImportError:
        pass
try:
    os.setuid(0)
    found["root"] = True
except OSError:
    found["root"] = False
print(json.dumps(found))
"""


def test_a_student_reaches_neither_other_work_nor_the_sources(hub: Class) -> None:
    course = hub.folder / "home" / "instructor" / COURSE
    hidden = next((hub.folder / "exchange" / COURSE / "inbound").glob("ada+*"))
    outside = [str(p) for p in (course, hub.folder / "home" / "ada", ROOT / "chapters")]
    files = [
        str(ROOT / "chapters" / SLUG / "exercises.py"),
        str(hub.folder / "password"),
        f"/srv/nbgrader/exchange/{COURSE}/inbound/{hidden.name}/{SLUG}.ipynb",
        "/etc/shadow",
    ]
    code = SPY.replace("OUTSIDE", repr(outside)).replace("FILES", repr(files))
    found = json.loads(hub.ben.run(code).strip().splitlines()[-1])
    assert found["who"] == people(["ada", "ben"])[2].uid
    assert set(found["owners"]) <= {0, found["who"]}
    assert found["homes"] == ["ben"]
    assert found["inbound"] == "PermissionError"
    assert found["other_home"] == found["course"] == "FileNotFoundError"
    assert set(found["outside"]) == {"FileNotFoundError"}
    assert not any(text.startswith(("{", '"""')) for text in found["files"])
    assert set(found["files"]) <= {"FileNotFoundError", "PermissionError"}
    assert found["wings"] == []
    assert found["root"] is False


def test_the_spy_sees_what_is_there_to_see(hub: Class) -> None:
    """The same questions, asked by somebody who may know: they are no empty words."""
    course = hub.folder / "home" / "instructor" / COURSE
    code = SPY.replace("OUTSIDE", "[]").replace("FILES", "['/etc/passwd']")
    found = json.loads(hub.instructor.run(code))
    assert found["course"] == sorted(os.listdir(course))
    assert found["inbound"] != "PermissionError"
    assert found["files"] != ["PermissionError"]
    assert "author" in found["wings"]
    assert {p.uid for p in people(["ada", "ben"])} <= set(found["owners"])


def test_one_student_cannot_open_the_others_server(hub: Class) -> None:
    answer = hub.ben.web.get("/user/ada/api/contents")
    assert answer.status_code in (403, 404)


def test_nothing_is_left_when_the_hub_ends(hub: Class) -> None:
    """The last test with this hub: servers and kernels end with it."""
    started = psutil.Process(hub.server.pid).children(recursive=True)
    assert len(started) > 3
    hub.server.send_signal(signal.SIGINT)  # Ctrl-C
    hub.server.wait(60)
    _, alive = psutil.wait_procs(started, timeout=60)
    assert not alive


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from attention_course.hub import __main__ as command

    port = free_port()
    assert not command._what_is_missing(str(PROXY), port)
    assert "npm install" in command._what_is_missing("no-such-proxy", port)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "sudo make hub" in command._what_is_missing(str(PROXY), port)


def test_a_taken_port_is_named_before_anything_is_made(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = subprocess.run(
            [*command_of_make(port), str(tmp_path / "hub")],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert told.returncode == 2
    assert f"make hub PORT={port + 1}" in told.stderr
    assert not (tmp_path / "hub").exists()


def test_a_port_is_one_that_the_kernel_gives_to_nobody() -> None:
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = {free_port() for _ in range(200)}
    assert max(ports) < low
    assert len(ports) > 150  # no two programs that ask get the same one
    assert all(map(is_free, ports))
