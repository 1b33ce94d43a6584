"""What both commands share at the terminal: exit codes, plain errors, completion."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attention_course import __version__

COMPLETE, NOT_COMPLETE, UNUSABLE = 0, 1, 2
STOPPED, UNHEARD = 130, 141
"""As a shell counts a program that SIGINT or SIGPIPE has ended."""

CHAPTER_FILES = ("chapter.py", "checks.safetensors")
"""What a chapter's folder holds: an author's, a student's."""

CURES = {
    errno.ENOSPC: "make room on the disk, then run it again",
    errno.EDQUOT: "make room in your quota, then run it again",
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "change its permissions, or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.ENOENT: "look at how it is spelt",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "name a folder where a file is now",
}


def new_parser(description: str) -> argparse.ArgumentParser:
    """The parser of `attention-course`, with `--version`."""
    parser = argparse.ArgumentParser(prog="attention-course", description=description)
    parser.add_argument(
        "--version", action="version", version=f"attention-course {__version__}"
    )
    return parser


def add_command(
    commands: Any, name: str, short: str, does: str, codes: str
) -> argparse.ArgumentParser:
    """A command: `short` in the list, `does` and exit `codes` in its own help."""
    return commands.add_parser(name, help=short, description=does, epilog=codes)


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Parse, run the command, and return its exit code.

    An error that a person can mend is one sentence on standard error, and 2.
    """
    _open_standard_files()
    _complete(parser)
    options = parser.parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _refuse("stopped", STOPPED)
    except BrokenPipeError:
        _drop_output()
        return UNHEARD
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.partition(".")[0] == "attention_course":
            raise
        return _refuse(
            f"Python has no {missing}: activate the course's environment, or install "
            "what is missing with `pip install 'attention-course[course]'`"
        )
    except OSError as error:
        if error.filename is None:
            _drop_output()
        return _refuse(_told(error))
    except ValueError as error:
        return _refuse(str(error))
    return code


def _refuse(problem: str, code: int = UNUSABLE) -> int:
    with contextlib.suppress(OSError):  # nobody can be told any more
        print(f"attention-course: {problem}", file=sys.stderr)
    return code


def _told(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    cure = CURES.get(error.errno or 0, "mend that, then run it again")
    return f"{where}{error.strerror or error}: {cure}"


def _drop_output() -> None:
    """Let Python's own last flush write to nowhere."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _open_standard_files() -> None:
    """Make printing safe: no closed file, no character that the locale lacks."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 # kept
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 # kept
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def chapter_names(**_: object) -> list[str]:
    """The chapters of the course or the archive around here, for the shell's Tab."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        marks = (folder / "chapters").glob("*/*")
        names = {p.parent.name for p in marks if p.name in CHAPTER_FILES}
        if names:
            return sorted(names)
    return []


def student_names(**_: object) -> list[str]:
    """Who has handed in something, for the shell's Tab."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "submitted").is_dir():
            return sorted(p.name for p in (folder / "submitted").iterdir())
    return []


def completed(argument: argparse.Action, names: Callable[..., list[str]]) -> None:
    """Have the shell's Tab complete an argument with these names."""
    argument.completer = names  # type: ignore[attr-defined] # as argcomplete has it


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell's Tab, where argcomplete is installed."""
    with contextlib.suppress(ModuleNotFoundError):
        import argcomplete

        argcomplete.autocomplete(parser)
