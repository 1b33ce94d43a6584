"""Hand in so that nobody but the instructor can read it.

nbgrader's own way lets everybody read a submission who knows its name, and relies on a
random part of the name. Here its group is the instructor's, and others have no rights.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nbgrader.exchange.default import ExchangeSubmit


class PrivateSubmit(ExchangeSubmit):
    """nbgrader's `submit`, which then closes the submission's folder to all others.

    The exchange's `inbound` has the instructor's group and passes it on (setgid).
    """

    def copy_files(self) -> None:
        """Copy the submission to the exchange, into a folder for its group alone."""
        super().copy_files()
        handed_in = Path(self.inbound_path) / self.assignment_filename
        os.chmod(handed_in, stat.S_IRWXU | stat.S_IRWXG)
