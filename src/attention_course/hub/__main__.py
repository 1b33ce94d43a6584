"""Start the hub: `python -m attention_course.hub FOLDER`. See `make hub`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from attention_course.hub.people import COURSE, Folders, people, prepare
from attention_course.hub.ports import free_port, is_free


def main() -> int:
    """Prepare the class's folders, say how to log in, and become JupyterHub."""
    parser = argparse.ArgumentParser(prog="make hub", description=__doc__)
    parser.add_argument("folder", type=Path, help="where homes and exchange are kept")
    parser.add_argument("--course", type=Path, default=Path.cwd())
    parser.add_argument("--proxy", default="configurable-http-proxy")
    parser.add_argument("--port", type=int, default=8000, help="where to log in")
    parser.add_argument("--students", default="ada ben")
    options = parser.parse_args()
    if problem := _what_is_missing(options.proxy, options.port):
        print(f"attention-course hub: {problem}", file=sys.stderr)
        return 2
    proxy = shutil.which(options.proxy) or options.proxy
    folders = Folders(options.folder.resolve())
    members = people(options.students.split())
    prepare(folders, options.course.resolve(), members)
    print(f"JupyterHub:  http://127.0.0.1:{options.port}")
    print(f"Instructor:  {members[0].name}, with the course in ~/{COURSE}")
    print(f"Students:    {', '.join(p.name for p in members[1:])}")
    print(f"Password:    {folders.password.read_text(encoding='utf-8')}", flush=True)
    environment = os.environ | {
        "ATTENTION_COURSE_HUB": str(folders.root),
        "ATTENTION_COURSE_HUB_PORT": str(options.port),
        "ATTENTION_COURSE_HUB_INNER_PORTS": f"{free_port()} {free_port()}",
        "ATTENTION_COURSE_HUB_STUDENTS": options.students,
        # JupyterHub starts it from another folder.
        "ATTENTION_COURSE_HUB_PROXY": str(Path(proxy).resolve()),
    }
    configuration = Path(__file__).with_name("jupyterhub_config.py")
    command = [sys.executable, "-m", "jupyterhub", "--config", str(configuration)]
    os.chdir(folders.root)
    os.execve(sys.executable, [*command, "--log-level=WARN"], environment)


def _what_is_missing(proxy: str, port: int) -> str:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return (
            "a hub starts servers under several user ids, so it has to be started as "
            "root (sudo make hub), as on a server"
        )
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed: apt-get install bubblewrap"
    if not shutil.which(proxy):
        return f"{proxy} is not there: npm install configurable-http-proxy"
    if not is_free(port):
        return f"something else listens on port {port}: make hub PORT={port + 1}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
