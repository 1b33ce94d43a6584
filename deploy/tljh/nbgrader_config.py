"""nbgrader for everybody on The Littlest JupyterHub: /usr/local/etc/jupyter/.

See docs/instructor/hub.md.
"""

import os
from pathlib import Path

from traitlets.config import get_config

INSTRUCTORS = {"jupyter-instructor"}

c = get_config()

c.Exchange.root = "/srv/nbgrader/exchange"
c.CourseDirectory.course_id = "attention"
c.ExchangeFactory.submit = "attention_course.hub.exchange.PrivateSubmit"

if os.environ.get("USER") in INSTRUCTORS:
    c.CourseDirectory.root = str(Path.home() / "attention")
