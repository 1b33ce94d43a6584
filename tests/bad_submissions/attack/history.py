"""Looks for answers in IPython's history and in the profile's start-up folder."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
shell = get_ipython()
for manager in (shell.history_manager,):
    if manager is not None:
        for _, _, source in manager.search("*"):
            print(source[:50])
try:
    with open(shell.profile_dir.startup_dir + "/00-evil.py", "w") as file:
        file.write("raise SystemExit")
except OSError:
    pass
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
