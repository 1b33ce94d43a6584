"""Covers the page with another score, by the classes of the page's own style."""

from bad_submissions.kit import Submission

CODE = r"""
from IPython.display import HTML, Latex, display

score = "04_scaling (Score: 15.0 / 15.0)" + "<br>" * 80
display(HTML(f'<div class="modal in show"><div class="modal-content">{score}</div></div>'))
display(Latex(r"$\rlap{\raise 300px{\bbox[white, 300px]{15.0 / 15.0}}}$"))
"""


def make(s: Submission) -> None:
    s.insert(CODE, "answer_softmax_jacobian")
    s.insert("```mermaid\ngraph TD; A-->B\n```", 3, "markdown")
