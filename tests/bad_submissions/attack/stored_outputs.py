"""Hands in outputs that say that all is complete."""

from bad_submissions.kit import TARGET, WRONG, Submission

LOSES = {TARGET}


VERDICT = "application/vnd.attention-course.verdict+json"


def make(s: Submission) -> None:
    s.answer(WRONG)
    text = f"✓ {TARGET}: complete, 4 of 4 points"
    verdict = {"name": TARGET, "points": 4.0, "earned": 4.0, "aspects": []}
    data = {"text/plain": text, VERDICT: verdict}
    s.output(f"check_{TARGET}", data, "display_data")
    s.output(f"check_{TARGET}", {"text/plain": "4.0"}, "execute_result")
    s.notebook["metadata"]["nbgrader"] = {"score": 15}
