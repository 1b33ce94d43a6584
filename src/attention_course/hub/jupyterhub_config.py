"""JupyterHub's configuration for `make hub`: loopback, one instructor, two students.

The command `python -m attention_course.hub` sets the environment that is read here.
"""

import os
from pathlib import Path

from traitlets.config import get_config

from attention_course.hub.people import Folders, people
from attention_course.hub.spawner import ViewSpawner

c = get_config()

folders = Folders(Path(os.environ["ATTENTION_COURSE_HUB"]))
port = int(os.environ["ATTENTION_COURSE_HUB_PORT"])
hub_port, proxy_port = os.environ["ATTENTION_COURSE_HUB_INNER_PORTS"].split()
members = people(os.environ["ATTENTION_COURSE_HUB_STUDENTS"].split())
names = {person.name for person in members}

c.JupyterHub.bind_url = f"http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{hub_port}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{proxy_port}"
c.ConfigurableHTTPProxy.command = [os.environ["ATTENTION_COURSE_HUB_PROXY"]]
c.ConfigurableHTTPProxy.log_level = "warn"
c.JupyterHub.db_url = f"sqlite:///{folders.root / 'hub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(folders.root / "cookie_secret")
c.ConfigurableHTTPProxy.pid_file = str(folders.root / "proxy.pid")
c.JupyterHub.cleanup_servers = True

# One password for the class, for a hub that only this machine can reach. On a server:
# PAM, OAuth or LTI (docs/instructor/hub.md).
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = folders.password.read_text("utf-8")
c.Authenticator.allowed_users = names

c.JupyterHub.spawner_class = ViewSpawner
c.ViewSpawner.members = {person.name: person for person in members}
c.ViewSpawner.folder = str(folders.root)
c.Spawner.default_url = "/lab"
c.Spawner.args = ["--log-level=WARN"]
c.Spawner.start_timeout = 120
c.Spawner.http_timeout = 120
