"""The student's own outputs weigh five megabytes."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    cell = s.insert("print('x')", 3)
    cell["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": "x" * 5_000_000}
    ]
