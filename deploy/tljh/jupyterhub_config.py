"""The Littlest JupyterHub: /opt/tljh/config/jupyterhub_config.d/attention.py.

See docs/instructor/hub.md.
"""

from traitlets.config import get_config

c = get_config()

c.Spawner.default_url = "/lab"
c.Spawner.environment = {"OMP_NUM_THREADS": "1"}
c.SystemdSpawner.mem_limit = "2G"
c.SystemdSpawner.isolate_tmp = True
