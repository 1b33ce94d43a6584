"""An AST transformer turns every number in later cells into a full score."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}
MAY_LOSE = {"score_gradient", "AttentionBlock"}  # it rewrites these cells as well


CODE = r"""
import ast


class Full(ast.NodeTransformer):
    def visit_Constant(self, node):
        return ast.copy_location(ast.Constant(4.0), node)


get_ipython().ast_transformers.append(Full())
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
