"""`attention-course check`: plain files, exit codes, JSON, and files that misbehave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from attention_course.grade.answers_file import UnusableAnswers, check_file

GOOD = "def double(x):\n    return x + x\n\ndef negate(x):\n    return -x\n"


def write(tiny: Path, text: str | bytes) -> Path:
    path = tiny / "answers.py"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def command(tiny: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "attention_course.cli", "check", *arguments],
        cwd=tiny,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_complete_file_exits_0_and_its_prints_stay_out_of_the_json(
    tiny: Path,
) -> None:
    noise = "import os, sys\nprint('hello')\nos.system('echo loud')\n"
    path = write(tiny, noise + GOOD)
    done = command(tiny, "90_tiny", str(path), "--json", "--seed", "5")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["chapter"], result["seed"]) == ("90_tiny", 5)
    assert [e["name"] for e in result["exercises"]] == ["double", "negate"]
    first = result["exercises"][0]
    assert set(first) == {"name", "points", "earned", "aspects"}
    assert first["points"] == first["earned"] == 2
    keys = {"name", "points", "earned", "mistake", "message"}
    assert all(set(a) == keys for a in first["aspects"])
    assert sum(a["points"] for a in first["aspects"]) == 2


def test_a_wrong_answer_exits_1_and_names_the_mistake(tiny: Path) -> None:
    path = write(tiny, GOOD.replace("x + x", "x * x"))
    done = command(tiny, "90", str(path))
    assert done.returncode == 1
    assert "You squared it." in done.stdout
    assert "negate: complete" in done.stdout


def test_a_missing_answer_is_not_written_yet(tiny: Path) -> None:
    folder = tiny / "chapters" / "90_tiny"
    verdicts = check_file(folder, write(tiny, "def negate(x):\n    return -x\n"))
    assert [v.status for v in verdicts] == ["blank", "complete"]


UNUSABLE = {
    "not Python": ("def double(x:\n", "is not Python"),
    "not text": (b"\x80\x81\x82", "is not Python"),
    "a null byte": (b"x = 1\0", "is not Python"),
    "empty": ("", "defines none of double, negate"),
    "import fails": ("import no_such_package\n", "No module named 'no_such_package'"),
    "raises": ("x = 1\n1 / 0\n", "ZeroDivisionError: division by zero (line 2)"),
    "exits": ("import sys\nsys.exit(0)\n", "calls exit()"),
    "dies": ("import os\nos._exit(0)\n", "ended its own process"),
    "hangs": ("while True: pass\n", "did not finish within 1 s"),
    "waits for input": ("input()\n", "EOFError"),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_a_file_that_cannot_be_used_is_refused(tiny: Path, fault: str) -> None:
    text, told = UNUSABLE[fault]
    folder = tiny / "chapters" / "90_tiny"
    with pytest.raises(UnusableAnswers) as error:
        check_file(folder, write(tiny, text), import_seconds=1)
    assert told in str(error.value)


def test_refusals_exit_2_with_one_line(tiny: Path) -> None:
    path = write(tiny, GOOD)
    for arguments, told in [
        (["90", str(tiny / "none.py")], "is not there"),
        (["90", str(tiny)], "is no file"),
        (["91", str(path)], "there is no chapter '91'"),
        (["90", str(path), "--exercise", "triple"], "has no exercise 'triple'"),
    ]:
        done = command(tiny, *arguments, "--json")
        assert done.returncode == 2
        assert done.stdout == ""
        assert told in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_an_absent_name_that_was_asked_for_exits_2(tiny: Path) -> None:
    path = write(tiny, "def negate(x):\n    return -x\n")
    done = command(tiny, "90", str(path), "--exercise", "double")
    assert done.returncode == 2
    assert "does not define double" in done.stderr


DEADLY = {
    "exits": "import os\n    os._exit(0)",
    "crashes": "import ctypes\n    ctypes.string_at(0)",
    "recurses": "return double(x)",
}


@pytest.mark.parametrize("end", DEADLY)
def test_an_answer_that_kills_its_process_costs_one_exercise(
    tiny: Path, end: str
) -> None:
    text = f"def double(x):\n    {DEADLY[end]}\n\ndef negate(x):\n    return -x\n"
    verdicts = check_file(tiny / "chapters" / "90_tiny", write(tiny, text))
    assert [v.earned for v in verdicts] == [0, 1.5]


def test_an_answer_may_set_torch_up_as_it_likes(tiny: Path) -> None:
    text = (
        "import torch\ntorch.set_default_dtype(torch.float64)\n"
        "torch.set_grad_enabled(False)\ntorch.manual_seed(0)\n"
    )
    verdicts = check_file(tiny / "chapters" / "90_tiny", write(tiny, text + GOOD))
    assert all(v.complete for v in verdicts)


def test_the_answers_process_receives_no_expected_output(tiny: Path) -> None:
    """What lies in the runner's folder holds the inputs and nothing else."""
    text = (
        "import glob, json, os, sys\n"
        "folder = sys.argv[2]\n" + GOOD.replace(
            "return x + x",
            "text = b''.join(open(p, 'rb').read() for p in "
            "glob.glob(folder + '/*'))\n"
            "    assert b'expected' not in text and b'squared' not in text\n"
            "    assert b'cases' not in text and b'plan' in ''.join("
            "glob.glob(folder + '/*')).encode()\n"
            "    return x + x",
        )
    )  # fmt: skip
    verdicts = check_file(tiny / "chapters" / "90_tiny", write(tiny, text))
    assert [v.message for v in verdicts] == ["", ""]
