"""The shell's own way of running a cell, and the kernel's do_execute, are replaced."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
shell = get_ipython()
real = shell.run_cell


def run_cell(raw_cell, *args, **kwargs):
    if "check" in raw_cell:
        raw_cell = "4.0"
    return real(raw_cell, *args, **kwargs)


shell.run_cell = run_cell
type(shell).run_cell = lambda self, *a, **k: run_cell(*a, **k)
kernel = getattr(shell, "kernel", None)
if kernel is not None:
    kernel.do_execute = lambda *a, **k: {"status": "ok", "execution_count": 1}
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
