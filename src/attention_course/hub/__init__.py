"""A class on JupyterHub: one instructor, several students, nbgrader's exchange.

`make hub` starts one on loopback. On a server of your own, docs/instructor/hub.md.
"""
