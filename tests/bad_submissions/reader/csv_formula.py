"""A student's name that is a spreadsheet formula."""

from bad_submissions.kit import Submission

STUDENT = '=HYPERLINK("x")'


def make(s: Submission) -> None:
    s.insert("print('=1+1')", "answer_softmax_jacobian")
