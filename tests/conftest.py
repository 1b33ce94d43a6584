"""What several test files share: the course's folder, and a tiny course of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# nbgrader calls alembic by name; kernels run side by side.
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
)
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]

needs_sandbox = pytest.mark.skipif(
    not shutil.which("bwrap"),
    reason="bubblewrap is not installed: `make setup` installs it where it may, or "
    "`apt-get install bubblewrap`",
)

CHAPTER = '''
# %% [markdown]
# # 90 · Doubling
#
# A tiny chapter.

# %%
from attention_course.learn import check

print("two:", 1 + 1)

# %% [markdown] exercise="double"
# ### Exercise: double it

# %% answer="double"
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    twice_the_input = x + x
    return twice_the_input
    ### END SOLUTION

# %% check="double" points=2
check(double)

# %% [markdown]
# ### And one more

# %% answer="negate"
def negate(x):
    """Minus x."""
    ### BEGIN SOLUTION
    return -x
    ### END SOLUTION

# %% check="negate" points=1.5
check(negate)
'''

EXERCISES = """
from attention_course.author.exercise import Exercise, call

double = Exercise("double", fewer="tiny")
negate = Exercise("negate", fewer="tiny")


@double.cases
def _(draw):
    yield call("vector", draw.normal(3))
    yield call("matrix", draw.normal(2, 3))
    yield call("float32", draw.normal(4).float(), aspect="robustness", gradients=False)


@double.reference
def double_reference(x):
    return 2 * x


@double.alternative
def by_division(x):
    return x / 0.5


@double.mistake("You squared it.")
def squared(x):
    return x * x


@double.mistake("You cut the gradient.")
def cut(x):
    return (2 * x).detach()


@double.mistake("You changed x.")
def in_place(x):
    x *= 2
    return x


@negate.cases
def _(draw):
    yield call("vector", draw.normal(3))


@negate.reference
def negate_reference(x):
    return -x
"""


@pytest.fixture(scope="session")
def root() -> Path:
    """The course's own folder."""
    return ROOT


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The folder of a course with one tiny chapter, 90_tiny."""
    folder = tmp_path / "chapters" / "90_tiny"
    folder.mkdir(parents=True)
    (folder / "chapter.py").write_text(CHAPTER.lstrip(), encoding="utf-8")
    (folder / "exercises.py").write_text(textwrap.dedent(EXERCISES), encoding="utf-8")
    return tmp_path


RIGHT_ANSWERS = {
    "double": "def double(x):\n    return x + x",
    "negate": "def negate(x):\n    return -x",
}


@pytest.fixture(scope="session")
def built_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with one tiny chapter, 90_tiny, built. Copy it before you change it."""
    from attention_course.author.build import build

    root = tmp_path_factory.mktemp("tiny")
    folder = root / "chapters" / "90_tiny"
    folder.mkdir(parents=True)
    (folder / "chapter.py").write_text(CHAPTER.lstrip(), encoding="utf-8")
    (folder / "exercises.py").write_text(textwrap.dedent(EXERCISES), encoding="utf-8")
    assert not build(root, [folder], jobs=1).failed
    shutil.copy(ROOT / "nbgrader_config.py", root)
    return root


def hand_in_tiny(root: Path, student: str, answers: dict[str, str]) -> Path:
    """Hand in 90_tiny with some answers; returns the notebook's path."""
    released = root / "release" / "90_tiny" / "90_tiny.ipynb"
    notebook = json.loads(released.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        name = cell["id"].removeprefix("answer-")
        if name in answers:
            cell["source"] = answers[name]
    target = root / "submitted" / student / "90_tiny" / "90_tiny.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(notebook), encoding="utf-8")
    return target


def nbgrader(
    course: Path, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run one nbgrader command in a course folder."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "nbgrader", *arguments],
        cwd=course,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (check and done.returncode), done.stderr
    return done
