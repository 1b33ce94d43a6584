"""What several test files share: the course's folder, and a tiny course of its own."""

from __future__ import annotations

import os
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
