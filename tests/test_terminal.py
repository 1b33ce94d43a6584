"""The command at a terminal: plain errors, documented exit codes, completion."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, needs_sandbox

from attention_course import __version__, cli, terminal

COMMAND = [sys.executable, "-m", "attention_course.cli"]


def bash(
    code: str, folder: Path, *, keep: tuple[int, ...] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", code, "bash", *COMMAND],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": ""}
        | more,
        capture_output=True,
        text=True,
        check=False,
        pass_fds=keep,
    )


def ended_by(error: BaseException) -> int:
    def fail(options: object) -> int:
        raise error

    parser = terminal.new_parser("a test")
    parser.set_defaults(run=fail)
    return terminal.run(parser, [])


ERRORS = {
    "value": (ValueError("wrong: mend it"), 2, "wrong: mend it"),
    "disk": (OSError(errno.ENOSPC, "No space left", "x"), 2, "x: No space left: make"),
    "rights": (PermissionError(errno.EACCES, "Denied", "x"), 2, "change its perm"),
    "module": (ModuleNotFoundError("no", name="jupytext"), 2, "Python has no jupytext"),
    "interrupt": (KeyboardInterrupt(), 130, "stopped"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_is_one_sentence(case: str, capfd: pytest.CaptureFixture[str]) -> None:
    error, code, told = ERRORS[case]
    assert ended_by(error) == code
    shown = capfd.readouterr().err
    assert told in shown
    assert len(shown.splitlines()) == 1


def test_a_defect_is_not_hidden() -> None:
    with pytest.raises(ModuleNotFoundError):
        ended_by(ModuleNotFoundError("no", name="attention_course.nothing"))
    with pytest.raises(TypeError):
        ended_by(TypeError("a defect"))


def test_the_version(tmp_path: Path) -> None:
    assert bash('"$@" --version', tmp_path).stdout.split()[-1] == __version__


def program(tmp_path: Path, does: str) -> None:
    """Write `it.py`, which runs an expression as a command of ours is run."""
    code = (
        "import sys\nfrom attention_course import terminal\n"
        "parser = terminal.new_parser('')\n"
        f"parser.set_defaults(run=lambda o: ({does}, 0)[1])\n"
        "sys.exit(terminal.run(parser, []))"
    )
    (tmp_path / "it.py").write_text(code, encoding="utf-8")


@pytest.mark.parametrize("lines", [1, 99_999])  # less than a buffer, and more
def test_output_that_nobody_reads(tmp_path: Path, lines: int) -> None:
    program(tmp_path, f"print('x\\n' * {lines})")
    reader, writer = os.pipe()
    os.close(reader)
    unread = bash(f'"$1" it.py >&{writer}', tmp_path, keep=(writer,))
    os.close(writer)
    assert (unread.returncode, unread.stderr) == (141, "")
    full = bash('"$1" it.py > /dev/full', tmp_path)
    assert full.returncode == 2
    assert "make room" in full.stderr
    assert len(full.stderr.splitlines()) == 1
    closed = bash('"$1" it.py >&-', tmp_path)
    assert (closed.returncode, closed.stderr) == (0, "")


def test_a_closed_standard_file_is_no_others(tmp_path: Path) -> None:
    """What is opened next must not become standard output, or standard error."""
    program(tmp_path, "(f := open('kept', 'w')).write(str(f.fileno()))")
    assert bash('"$1" it.py >&- 2>&- <&-', tmp_path).returncode == 0
    assert int((tmp_path / "kept").read_text()) > 2
    program(tmp_path, "open('/no/such/file')")
    untold = bash('"$1" it.py 2>&-', tmp_path)
    assert (untold.returncode, untold.stdout) == (2, "")


def test_a_locale_without_the_characters(tmp_path: Path) -> None:
    program(tmp_path, "print('√d')")
    done = bash('"$1" it.py', tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "\\u221ad\n")


def test_the_page_has_every_exit_code() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    told = {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", page)}
    names = ("COMPLETE", "NOT_COMPLETE", "UNUSABLE", "STOPPED", "UNHEARD")
    assert told == {getattr(terminal, name) for name in names}


WORDS = {
    "a command": ("gr", {"grade"}),
    "a chapter": ("grade 04", {"04_scaling"}),
    "every chapter": ("build ", {"04_scaling", "05_masks"}),
    "a student's chapter": ("check 05", {"05_masks"}),
    "a student": ("grade 04_scaling --student g", {"grace", "gustav"}),
}


@pytest.mark.parametrize("what", WORDS)
def test_bash_completes(tmp_path: Path, what: str) -> None:
    pytest.importorskip("argcomplete", reason="argcomplete is not installed")
    program = tmp_path / "attention-course"
    program.write_text(
        f"#!{sys.executable}\n# PYTHON_ARGCOMPLETE_OK\nimport sys\n"
        "from attention_course.cli import main\nsys.exit(main())\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    tool = shutil.which("register-python-argcomplete")
    assert tool
    for place in ("chapters/04_scaling/chapter.py", "submitted/grace/x"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).touch()
    for place in ("chapters/05_masks/checks.safetensors", "submitted/gustav/x"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).touch()
    typed, offered = WORDS[what]
    code = (
        f'eval "$({tool} attention-course)"\n'
        f'COMP_LINE="attention-course {typed}" COMP_POINT=${{#COMP_LINE}}\n'
        "COMP_TYPE=9\n"
        "_python_argcomplete attention-course\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = bash(code, tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert offered <= {word.strip() for word in done.stdout.splitlines()}, done.stderr
    if what != "every chapter":
        assert {word.strip() for word in done.stdout.splitlines()} == offered


@needs_sandbox
def test_the_sandbox_is_tested_alone() -> None:
    done = bash('"$@" grade --self-test', ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "the sandbox holds"


def test_without_bubblewrap_the_cure_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", "")
    assert cli.main(["grade", "--self-test"]) == 2
    told = capfd.readouterr().err
    assert "apt-get install bubblewrap" in told
    assert len(told.splitlines()) == 1
