"""nbgrader's configuration for this course folder.

`nbgrader` and Formgrader, started here, find source/, release/, solutions/ and the
gradebook as the course has them.
"""

import os
import sys
from pathlib import Path

from traitlets.config import get_config

c = get_config()

root = Path(__file__).resolve().parent

c.CourseDirectory.root = str(root)
c.CourseDirectory.course_id = "attention"
c.CourseDirectory.solution_directory = "solutions"
c.CourseDirectory.db_url = f"sqlite:///{root / 'gradebook.db'}"
c.CourseDirectory.ignore = [
    ".ipynb_checkpoints",
    "*.pyc",
    "__pycache__",
    ".DS_Store",
]

# Autograding runs a submission in the sandbox and forms its verdict outside, as
# `attention-course grade` does; nbgrader's own steps then read the scores.
c.Autograde.sanitize_preprocessors = ["attention_course.grade.plugin.GradeOutside"]
c.Autograde.autograde_preprocessors = [
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]

c.ExecutePreprocessor.timeout = 120
c.Execute.timeout = 120
c.Execute.record_timing = False
c.Execute.extra_arguments = ["--log-level=ERROR"]
c.LimitOutput.max_lines = 1000
c.LimitOutput.max_traceback = 100

c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}

# nbgrader upgrades its gradebook with the program `alembic`, which it looks for on
# PATH; without an activated environment it stands beside this Python.
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
)
