"""What a student receives: it works on its own, and holds no answer."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, nbgrader

from attention_course import cli, student
from attention_course.author.chapter import read_chapter
from attention_course.grade import bundle
from attention_course.grade.leaks import find_leaks, secret_lines
from attention_course.grade.names import unportable
from attention_course.grade.sample_class import STUDENTS, submission
from attention_course.grade.scores import read_scores

SLUG = "04_scaling"
SLUGS = [p.parent.name for p in sorted((ROOT / "chapters").glob("*/chapter.py"))]


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return bundle.bundle_files(ROOT)


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    return secret_lines(ROOT)


def wheel_of(files: dict[str, bytes]) -> zipfile.ZipFile:
    name = next(n for n in files if n.endswith(".whl"))
    return zipfile.ZipFile(io.BytesIO(files[name]))


def test_it_holds_every_chapter_and_nothing_of_the_author(
    files: dict[str, bytes],
) -> None:
    chapters = {n.split("/")[1] for n in files if n.startswith("chapters/")}
    assert sorted(chapters) == SLUGS
    others = {n for n in files if "/" not in n and not n.endswith(".whl")}
    assert others == {"LICENSE", "README.md", "environment.yml", "requirements.txt"}
    parts = {
        n.split("/")[1] for n in wheel_of(files).namelist() if "dist-info" not in n
    }
    assert parts == {"__init__.py", "learn", "py.typed", "student.py", "terminal.py"}


def test_the_same_course_gives_the_same_bytes(files: dict[str, bytes]) -> None:
    before = os.umask(0o077)
    try:
        again = bundle.bundle_files(ROOT)
    finally:
        os.umask(before)
    assert bundle.packed(again) == bundle.packed(dict(reversed(files.items())))


def test_the_pins_are_the_locks_and_suffice(files: dict[str, bytes]) -> None:
    pins = re.findall(r"(?m)^([\w.-]+)==(\S+)$", files["requirements.txt"].decode())
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert {f"{name}=={version}" for name, version in pins} <= set(lock)
    names = {name.lower() for name, _ in pins}
    assert {"torch", "numpy", "jupyterlab", "ipykernel", "matplotlib"} <= names
    assert not {"nbgrader", "pytest", "ruff", "jupytext", "sphinx"} & names
    wheel = next(n for n in files if n.endswith(".whl"))
    assert files["requirements.txt"].decode().endswith(f"\n./{wheel}\n")


# No answer


def test_it_holds_no_answer(files: dict[str, bytes], secrets: dict[str, str]) -> None:
    assert len(secrets) > 2000
    assert {origin.split(":")[0] for origin in secrets.values()} == set(SLUGS)
    assert find_leaks(bundle.packed(files), secrets) == []


def test_the_solutions_would_be_found(secrets: dict[str, str]) -> None:
    solutions = {
        f"{slug}.ipynb": (ROOT / "solutions" / slug / f"{slug}.ipynb").read_bytes()
        for slug in SLUGS
    }
    leaks = find_leaks(bundle.packed(solutions), secrets)
    for slug in SLUGS:
        told = {
            leak.origin
            for leak in leaks
            if leak.origin.startswith(f"{slug}: the answer")
        }
        answers = read_chapter(ROOT / "chapters" / slug).cells
        number = sum(c.role == "answer" for c in answers)
        assert len(told) >= number - 1, f"{slug}: {told}"


SECRET = "return torch.diag(weights) - torch.outer(weights, weights)"


def in_notebook(data: bytes) -> bytes:
    notebook = json.loads(data)
    notebook["cells"][3]["source"] = ["a\n", f"    {SECRET}"]
    return json.dumps(notebook).encode()


def in_output(data: bytes) -> bytes:
    notebook = json.loads(data)
    output = {"output_type": "stream", "name": "stdout", "text": [SECRET]}
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    cells[0]["outputs"] = [output]
    return json.dumps(notebook).encode()


def in_header(data: bytes) -> bytes:
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    key = json.loads(header["__metadata__"]["answer_key"])
    key["exercises"][0]["cases"][0]["note"] = f"line 3: {SECRET}"
    header["__metadata__"]["answer_key"] = json.dumps(key)
    packed = json.dumps(header).encode()
    return len(packed).to_bytes(8, "little") + packed + data[8 + size :]


def in_numbers(data: bytes) -> bytes:
    return data[:-100] + SECRET.encode() + data[-42:]


def in_wheel(data: bytes) -> bytes:
    store = io.BytesIO(data)
    with zipfile.ZipFile(store, "a") as wheel:
        wheel.writestr("attention_course/learn/more.py", f"x = 1\n    {SECRET}\n")
    return store.getvalue()


def in_text(data: bytes) -> bytes:
    return data + SECRET.encode()


PLACES = [
    (f"chapters/{SLUG}/{SLUG}.ipynb", in_notebook),
    (f"chapters/{SLUG}/{SLUG}.ipynb", in_output),
    (f"chapters/{SLUG}/checks.safetensors", in_header),
    (f"chapters/{SLUG}/checks.safetensors", in_numbers),
    (".whl", in_wheel),
    ("README.md", in_text),
    ("requirements.txt", in_text),
]


@pytest.mark.parametrize(
    ("place", "plant"), PLACES, ids=[plant.__name__ for _, plant in PLACES]
)
def test_a_planted_answer_is_found_and_nothing_is_written(
    files: dict[str, bytes],
    secrets: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    plant,
) -> None:
    name = next(n for n in files if n.endswith(place))
    planted = files | {name: plant(files[name])}
    monkeypatch.setattr(bundle, "bundle_files", lambda root: planted)
    monkeypatch.setattr(bundle, "secret_lines", lambda root: {SECRET: secrets[SECRET]})
    with pytest.raises(bundle.UnsafeBundle, match="softmax_jacobian") as caught:
        bundle.write_bundle(ROOT, tmp_path / "bundle.zip")
    assert name in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_stale_chapter_is_not_handed_out(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tiny)
    assert cli.main(["bundle", "-o", "out.zip"]) == 1
    assert "90_tiny not current" in capsys.readouterr().err
    assert not (tiny / "out.zip").exists()


# Names


BAD_NAMES = {
    "a/b:c.txt": "forbids",
    "notes/aux.py": "device",
    "COM1": "device",
    "a/Readme.md a/README.md": "one name",
    "Data/x data/y": "one name",
    "a/end.": "drops",
    "a/" + "n" * 160: "characters",
    "a/naïve.py": "ASCII",
    "../up": "forbids",
}


@pytest.mark.parametrize("names", BAD_NAMES)
def test_names_that_fail_elsewhere_are_told(names: str) -> None:
    assert BAD_NAMES[names] in "\n".join(unportable(names.split(" ")))


def test_every_name_of_the_repository_holds_on_windows_and_macos() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this copy of the course is not a git repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    names = [name for name in listed.split("\0") if name]
    assert len(names) > 100
    assert list(unportable(names)) == []


def test_every_name_of_the_archive_holds_on_windows_and_macos(
    files: dict[str, bytes],
) -> None:
    assert list(unportable(f"{bundle.TOP}/{name}" for name in files)) == []


# A student's day


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive unpacked in an empty folder, with a fresh environment beside it.

    The environment's package comes from the archive's wheel. The large packages that
    it needs are lent from this environment, whose own .pth files, and so the checkout,
    are not read.
    """
    desk = tmp_path_factory.mktemp("desk")
    bundle.write_bundle(ROOT, desk / "attention-course.zip")
    with zipfile.ZipFile(desk / "attention-course.zip") as archive:
        archive.extractall(desk)
    folder = desk / bundle.TOP
    venv.create(folder / ".venv", with_pip=False, symlinks=os.name != "nt")
    wheel = next(folder.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "--python", str(python(folder))]
    pip += ["--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    own = run(folder, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(own.strip(), "lent.pth").write_text("\n".join(sorted(lent)), encoding="utf-8")
    return folder


def python(folder: Path) -> Path:
    return folder / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"


def clean_environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    path = [str(python(folder).parent), "/usr/bin", "/bin"]
    kept |= {"PATH": os.pathsep.join(path), "JUPYTER_PLATFORM_DIRS": "1"}
    return kept


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [str(python(folder)), *arguments],
        cwd=folder,
        env=clean_environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def command(folder: Path, *arguments: str, code: int = 0) -> str:
    return run(
        folder, str(python(folder).parent / "attention-course"), *arguments, code=code
    )


def test_the_checkout_is_out_of_reach(desk: Path) -> None:
    told = run(
        desk,
        "-c",
        "import sys, importlib.util as u, attention_course as a; print(a.__file__);"
        "print(u.find_spec('attention_course.author'), *sys.path, sep='\\n')",
    )
    assert Path(told.splitlines()[0]).is_relative_to(desk)
    assert told.splitlines()[1] == "None"
    assert str(ROOT / "src") not in told


def test_the_environment_is_what_the_archive_asks_for(desk: Path) -> None:
    pins = re.findall(
        r"(?m)^([\w.-]+)==(\S+)$", (desk / "requirements.txt").read_text("utf-8")
    )
    wrong = [n for n, v in pins if importlib.metadata.version(n).split("+")[0] != v]
    assert not wrong, f"this environment is not the lock's: {wrong}"


RUN_NOTEBOOK = """
import sys, nbformat
from nbclient import NotebookClient
path = sys.argv[1]
notebook = nbformat.read(path, as_version=4)
folder = {"metadata": {"path": path.rsplit("/", 1)[0]}}
NotebookClient(notebook, kernel_name="python3", resources=folder).execute()
nbformat.write(notebook, path)
"""


def test_a_student_solves_a_chapter_and_hands_in(desk: Path, tmp_path: Path) -> None:
    notebook = desk / "chapters" / SLUG / f"{SLUG}.ipynb"
    chapter = read_chapter(ROOT / "chapters" / SLUG)
    assert "still blank" in command(desk, "hand-in", "04", "--name", "early")
    finished = next(s for s in STUDENTS if s.name == "finished")
    nbformat.write(submission(chapter, notebook, finished), notebook)

    run(desk, "-c", RUN_NOTEBOOK, notebook.as_posix())
    executed = nbformat.read(notebook, as_version=4)
    checks = [c for c in executed.cells if c.source.startswith("check(")]
    assert len(checks) == len(chapter.points)
    for cell in checks:
        assert ": complete," in cell.outputs[0].data["text/plain"]
        assert len(cell.outputs) == 1

    told = command(desk, "hand-in", SLUG, "--name", "ada")
    assert "blank" not in told
    assert f"ada-{SLUG}.zip" in told

    course = tmp_path / "course"  # the instructor's, who only unpacks
    for folder in ("chapters", "source"):
        shutil.copytree(ROOT / folder / SLUG, course / folder / SLUG)
    shutil.copy(ROOT / "nbgrader_config.py", course)
    with zipfile.ZipFile(desk / f"ada-{SLUG}.zip") as archive:
        archive.extractall(course)
    nbgrader(course, "generate_assignment", SLUG)
    nbgrader(course, "autograde", SLUG)
    scores = [(s.student, s.earned, s.points) for s in read_scores(course)]
    total = sum(chapter.points.values())
    assert scores == [("ada", total, total)]


def test_a_student_checks_a_plain_file(desk: Path) -> None:
    answer = """
import torch

def softmax_jacobian(weights):
    return {}
"""
    right = "torch.diag(weights) - torch.outer(weights, weights)"
    wrong = "torch.diag(weights * (1 - weights))"
    file = desk / "answers.py"
    arguments = ("check", "04", "answers.py", "--exercise", "softmax_jacobian")
    file.write_text(answer.format(right), encoding="utf-8")
    assert "complete, 3 of 3 points" in command(desk, *arguments)
    file.write_text(answer.format(wrong), encoding="utf-8")
    told = json.loads(command(desk, *arguments, "--json", code=1))
    assert told["chapter"] == SLUG
    assert told["exercises"][0]["aspects"][0]["mistake"] == "diagonal_only"
    assert "no exercise 'sofmax'" in command(
        desk, "check", "04", "answers.py", "--exercise", "sofmax", code=2
    )
    assert "no chapter '99'" in command(desk, "check", "99", "answers.py", code=2)


# Handing in, in detail


@pytest.fixture
def chapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A student's copy of one chapter, below the current folder."""
    shutil.copytree(ROOT / "release" / SLUG, tmp_path / "chapters" / SLUG)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "chapters" / SLUG


@pytest.mark.parametrize("start", [".", "chapters", f"chapters/{SLUG}"])
@pytest.mark.parametrize("name", ["04", SLUG])
def test_a_chapter_is_found_from_where_a_student_stands(
    chapter: Path, name: str, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(start)
    assert student.main(["hand-in", name, "--name", "ada", "-o", "x.zip"]) == 0
    with zipfile.ZipFile("x.zip") as archive:
        assert archive.namelist() == [f"submitted/ada/{SLUG}/{SLUG}.ipynb"]


@pytest.mark.parametrize("name", ["", "../ada", "a/b", "ada ", "ada.", "-a", "é"])
def test_a_name_that_is_no_folder_is_refused(
    chapter: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert student.main(["hand-in", "04", f"--name={name}"]) == 2
    assert "cannot be a folder's name" in capsys.readouterr().err


def spoil_not_json(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8")[:1000], encoding="utf-8")


def spoil_renamed(path: Path) -> None:
    path.rename(path.with_name("mine.ipynb"))


def spoil_cell_gone(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"] = [
        c for c in notebook["cells"] if c["id"] != "answer-softmax-jacobian"
    ]
    path.write_text(json.dumps(notebook), encoding="utf-8")


SPOILT = {
    spoil_not_json: "not a notebook any more",
    spoil_renamed: "keep the notebook's name",
    spoil_cell_gone: "no answer cell of softmax_jacobian",
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_spoilt_notebook_is_not_packed(
    chapter: Path, spoil, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(chapter / f"{SLUG}.ipynb")
    assert student.main(["hand-in", "04", "--name", "ada"]) == 2
    assert SPOILT[spoil] in capsys.readouterr().err
    assert not list(Path.cwd().glob("*.zip"))


def test_no_chapters_here_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path.anchor)  # above it lie other tests' chapters
    assert student.main(["hand-in", "04", "--name", "ada"]) == 2
    assert "no chapters in" in capsys.readouterr().err
