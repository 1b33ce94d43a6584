"""IPython's shell without a kernel: runs cells, builds nbformat outputs."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

Output = dict[str, Any]


class Outputs:
    """The outputs of one cell, cut off after so many bytes while they are made."""

    def __init__(self, most: int) -> None:
        """Keep at most `most` bytes."""
        self.most = most
        self.clear()

    def clear(self) -> None:
        """Start a new cell."""
        self.items: list[Output] = []
        self.size = 0
        self.cut = 0
        self._wait = False

    def write(self, name: str, text: str) -> None:
        """Add to the stream `name`."""
        self._waited()
        room = self.most - self.size
        if len(text) > room:
            self.cut += len(text) - max(room, 0)
            text = text[: max(room, 0)]
        if not text:
            return
        self.size += len(text)
        last = self.items[-1] if self.items else {}
        if last.get("output_type") == "stream" and last.get("name") == name:
            last["parts"].append(text)
        else:
            self.items.append({"output_type": "stream", "name": name, "parts": [text]})

    def add(self, output: Output) -> None:
        """Add any other output, if there is room for it."""
        self._waited()
        try:
            size = len(json.dumps(output))
        except (TypeError, ValueError, RecursionError):
            return
        if self.size + size > self.most:
            self.cut += size
            return
        self.size += size
        self.items.append(output)

    def clear_output(self, wait: bool) -> None:
        """What `IPython.display.clear_output` asks for."""
        if wait:
            self._wait = True
        else:
            self.items = []

    def _waited(self) -> None:
        if self._wait:
            self._wait, self.items = False, []

    def finished(self) -> list[Output]:
        """The outputs as nbformat has them, with a word about what was cut."""
        made = []
        for item in self.items:
            if "parts" in item:
                text = "".join(item["parts"])
                item = {"output_type": "stream", "name": item["name"], "text": text}
            made.append(item)
        if self.cut:
            text = f"\n[cut: {self.cut} more bytes of output were not kept]\n"
            made.append({"output_type": "stream", "name": "stderr", "text": text})
        return made


class Stream(io.TextIOBase):
    """sys.stdout or sys.stderr of a notebook."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, name: str, outputs: Outputs) -> None:
        """Collect what is written under `name`."""
        self._name = name
        self._outputs = outputs
        self.buffer = _Bytes(self)

    @property
    def name(self) -> str:
        """As the streams of a terminal are called."""
        return f"<{self._name}>"

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Keep `text`."""
        if not isinstance(text, str):
            raise TypeError(f"write() takes str, not {type(text).__name__}")
        self._outputs.write(self._name, text)
        return len(text)

    def fileno(self) -> int:
        """The real stream's, which goes nowhere."""
        return {"stdout": 1, "stderr": 2}[self._name]


class _Bytes(io.RawIOBase):
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        text = bytes(data).decode("utf-8", "replace")
        return self._stream.write(text)


class _Publisher(DisplayPublisher):
    outputs: Outputs | None = None

    def publish(
        self,
        data: Any,
        metadata: Any = None,
        source: Any = None,
        *,
        transient: Any = None,
        update: bool = False,
        **_: Any,
    ) -> None:
        if self.outputs is not None:
            self.outputs.add(
                {
                    "output_type": "display_data",
                    "data": data,
                    "metadata": metadata or {},
                }
            )

    def clear_output(self, wait: bool = False) -> None:
        if self.outputs is not None:
            self.outputs.clear_output(wait)


class _Hook(DisplayHook):
    outputs: Outputs | None = None

    def start_displayhook(self) -> None:
        self._result: Output = {}

    def write_output_prompt(self) -> None:
        self._result["execution_count"] = self.prompt_count

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        self._result |= {"data": dict(format_dict), "metadata": dict(md_dict or {})}

    def finish_displayhook(self) -> None:
        if self.outputs is not None and self._result.get("data"):
            self.outputs.add({"output_type": "execute_result", **self._result})


class Shell(InteractiveShell):
    """A shell for one notebook; made before any cell is known."""

    def __init__(self, **settings: Any) -> None:
        """As InteractiveShell, without history and without a terminal."""
        super().__init__(**settings)
        self.outputs = Outputs(0)

    def init_history(self) -> None:
        """No file of history."""
        self.config.HistoryManager.enabled = False
        super().init_history()

    def init_display_pub(self) -> None:
        """Displayed objects become outputs."""
        self._publisher = _Publisher(parent=self, shell=self)
        self.display_pub = self._publisher

    def init_displayhook(self) -> None:
        """Results become outputs."""
        super().init_displayhook()
        self._hook = _Hook(parent=self, shell=self)
        self.displayhook = self._hook
        self.display_trap.hook = self.displayhook

    def enable_gui(self, gui: Any = None) -> None:
        """There is no window to open: `%matplotlib` of any kind shows figures here."""

    def ask_exit(self) -> None:
        """`exit` and `quit` in a cell end nothing."""

    def init_magics(self) -> None:
        """`%reset` empties nothing: what was tidied up by hand had run before."""
        super().init_magics()
        self.magics_manager.register_function(_leave_all, magic_name="reset")

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        try:
            value = str(evalue)
        except Exception:
            value = "<its text cannot be shown>"
        name = getattr(etype, "__name__", str(etype))
        lines = [str(line) for line in stb]
        most = self.outputs.most // 4
        while sum(map(len, lines)) > most and len(lines) > 1:
            del lines[len(lines) // 2]
        self.outputs.add(
            {
                "output_type": "error",
                "ename": str(name),
                "evalue": value[:2000],
                "traceback": [line[:most] for line in lines],
            }
        )

    def start(self, most: int) -> None:
        """Take over the streams; keep at most `most` bytes of each cell's outputs."""
        self.outputs.most = most
        self._publisher.outputs = self._hook.outputs = self.outputs
        sys.stdout = Stream("stdout", self.outputs)
        sys.stderr = Stream("stderr", self.outputs)

    def run(self, source: str) -> tuple[list[Output], tuple[str, str] | None]:
        """Run one cell: its outputs, and the error it ended with: class and text."""
        self.outputs.clear()
        result = self.run_cell(source, store_history=True)
        error = result.error_before_exec or result.error_in_exec
        if error is None:
            return self.outputs.finished(), None
        try:
            text = str(error)[:2000]
        except Exception:
            text = ""
        return self.outputs.finished(), (type(error).__name__, text)


def _leave_all(line: str) -> None:
    """What `%reset` does here: nothing."""


def make_shell() -> Shell:
    """The shell of the warm process."""
    import atexit

    shell = Shell.instance()
    atexit.unregister(shell.atexit_operations)
    shell.colors = "nocolor"
    return shell


__all__ = ["Output", "Outputs", "Shell", "make_shell"]
