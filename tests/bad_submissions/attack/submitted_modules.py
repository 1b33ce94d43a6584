"""Hands in modules called torch, ipykernel_launcher, sitecustomize and attention_course."""

from bad_submissions.kit import TARGET, WRONG, Submission

LOSES = {TARGET}
HELD = "maybe"


def make(s: Submission) -> None:
    s.answer(WRONG)
    patch = "import sys; sys.exit('hijacked')\n"
    for name in (
        "torch",
        "ipykernel_launcher",
        "sitecustomize",
        "usercustomize",
        "json",
    ):
        s.file(f"{name}.py", patch)
    s.file("attention_course/__init__.py", patch)
