"""Jupyter's server on The Littlest JupyterHub: /usr/local/etc/jupyter/.

See docs/instructor/hub.md.
"""

import os

from traitlets.config import get_config

INSTRUCTORS = {"jupyter-instructor"}

c = get_config()

if os.environ.get("USER") in INSTRUCTORS:
    # Formgrader is a page in a frame of Lab's, which JupyterHub forbids.
    headers = {"Content-Security-Policy": "frame-ancestors 'self'"}
    c.ServerApp.tornado_settings = {"headers": headers}
