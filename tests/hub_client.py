"""A person's browser, as far as JupyterHub can tell: log in, start, press buttons."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from typing import Any

import httpx
from websockets.sync.client import connect

SECONDS = 120.0


def wait_for_hub(address: str, server: subprocess.Popen[Any]) -> None:
    """Wait until the hub behind the proxy shows its log-in page."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, "the hub ended"
        try:
            if httpx.get(f"{address}/hub/login", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass  # not yet
        time.sleep(0.2)
    raise AssertionError("the hub does not show its log-in page")


class Visitor:
    """One person, logged in at a hub."""

    def __init__(self, hub: str, name: str, password: str) -> None:
        """Log in through the hub's form."""
        self.hub, self.name = hub, name
        self.web = httpx.Client(base_url=hub, follow_redirects=True, timeout=SECONDS)
        assert self.web.get("/hub/login").status_code == 200
        data = {"username": name, "password": password, "_xsrf": self._token("/hub/")}
        answer = self.web.post("/hub/login", data=data)
        assert answer.status_code == 200, answer.text[:500]
        assert "/login" not in str(answer.url), "the hub refused the log-in"

    def _token(self, path: str) -> str:
        """The anti-forgery cookie that belongs to a path."""
        cookies = [c for c in self.web.cookies.jar if c.name == "_xsrf"]
        (found,) = [c for c in cookies if c.path == path][:1]
        return str(found.value)

    @property
    def base(self) -> str:
        """Where this person's server is."""
        return f"/user/{self.name}"

    def start(self) -> None:
        """Start this person's server and wait for it."""
        self.web.get(f"/hub/spawn/{self.name}")
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            answer = self.web.get(f"{self.base}/lab")  # logs in at the server, too
            if answer.url.path.startswith(f"{self.base}/lab"):
                return
            time.sleep(0.5)
        raise AssertionError(f"{self.name}'s server did not start")

    def get(self, path: str) -> Any:
        """What this person's server answers, as JSON."""
        answer = self.web.get(f"{self.base}/{path}")
        assert answer.status_code == 200, (answer.status_code, answer.text[:1000])
        return answer.json()

    def post(self, path: str, **data: Any) -> Any:
        """Press a button: the request that nbgrader's own pages send."""
        answer = self.web.post(
            f"{self.base}/{path}", data=data, headers=self._headers()
        )
        assert answer.status_code < 300, (answer.status_code, answer.text[:1000])
        return answer.json() if answer.content else None

    def put(self, path: str, body: Any) -> None:
        """Save a file, as JupyterLab does."""
        answer = self.web.put(f"{self.base}/{path}", json=body, headers=self._headers())
        assert answer.status_code < 300, (answer.status_code, answer.text[:1000])

    def _headers(self) -> dict[str, str]:
        return {"X-XSRFToken": self._token(f"{self.base}/")}

    def run(self, code: str) -> str:
        """Run Python in a kernel of this person's server; returns what it printed."""
        answer = self.web.post(
            f"{self.base}/api/kernels", json={}, headers=self._headers()
        )
        kernel = answer.json()["id"]
        cookies = "; ".join(f"{c.name}={c.value}" for c in self.web.cookies.jar)
        address = self.hub.replace("http", "ws", 1)
        url = f"{address}{self.base}/api/kernels/{kernel}/channels"
        message = {
            "header": {
                "msg_id": uuid.uuid4().hex,
                "msg_type": "execute_request",
                "session": uuid.uuid4().hex,
                "username": self.name,
                "version": "5.3",
            },
            "parent_header": {},
            "metadata": {},
            "content": {"code": code, "silent": False, "store_history": False},
            "channel": "shell",
        }
        printed = ""
        headers = {"Cookie": cookies}
        with connect(url, additional_headers=headers, max_size=None) as socket:
            socket.send(json.dumps(message))
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                got = json.loads(socket.recv(timeout=SECONDS))
                if got["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                    continue
                if got["msg_type"] == "stream":
                    printed += got["content"]["text"]
                if got["msg_type"] == "error":
                    printed += "\n".join(got["content"]["traceback"])
                if got["content"].get("execution_state") == "idle":
                    break
        self.web.delete(f"{self.base}/api/kernels/{kernel}", headers=self._headers())
        return printed
