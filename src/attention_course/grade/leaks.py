"""Look for answers in what students receive.

An answer's line may be anywhere: in a notebook's text or outputs, in the wheel's code,
in an answer key's header. Each line of every answer, reference, alternative and mistake
is looked for in everything that an archive holds, archives within it unpacked.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_course.author.chapter import BEGIN, END, find_chapters, read_chapter
from attention_course.author.exercise import load_exercises
from attention_course.grade.student_package import package_files

SHORTEST = 10
"""Shorter lines, like `return x`, tell nothing. Characters, without the indent."""

PRINTABLE = re.compile(rb"[\x20-\x7e]{%d,}" % SHORTEST)


@dataclass(frozen=True)
class Leak:
    """A line of an answer, where it comes from, and the file that holds it."""

    line: str
    origin: str
    file: str

    def __str__(self) -> str:
        return f"{self.file} holds {self.line!r} of {self.origin}"


def secret_lines(root: Path) -> dict[str, str]:
    """The lines that no student may receive, and the place where each is written.

    What the released text, its demos or the students' package say is no secret.
    """
    shown = _shown(root)
    secrets: dict[str, str] = {}
    for folder in find_chapters(root):
        for line, origin in (*_answers(folder), *_specified(folder)):
            if len(line) >= SHORTEST and line not in shown:
                secrets.setdefault(line, f"{folder.name}: {origin}")
    return secrets


def _answers(folder: Path) -> Iterator[tuple[str, str]]:
    for cell in read_chapter(folder).cells:
        if cell.role == "answer":
            hidden = False
            for row in cell.source.splitlines():
                if row.strip() in (BEGIN, END):
                    hidden = row.strip() == BEGIN
                elif hidden:
                    yield row.strip(), f"the answer {cell.exercise}"


def _specified(folder: Path) -> Iterator[tuple[str, str]]:
    """The lines of exercises.py that compute something: all but cases and texts."""
    text = (folder / "exercises.py").read_text(encoding="utf-8")
    rows = text.splitlines()
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or _is_cases(node):
            continue
        strings = {
            row
            for part in ast.walk(node)
            if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
            for row in range(part.lineno, (part.end_lineno or part.lineno) + 1)
        }
        for number in range(node.body[0].lineno, (node.end_lineno or 0) + 1):
            if number not in strings:
                yield rows[number - 1].strip(), f"{node.name} in exercises.py"


def _is_cases(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether it makes cases: their inputs and names are in every answer key."""
    return isinstance(node, ast.FunctionDef) and "draw" in [
        argument.arg for argument in node.args.args
    ]


def _shown(root: Path) -> str:
    """Everything that students may read: prose, demos, stubs, hints, their package."""
    texts = []
    for folder in find_chapters(root):
        for exercise in load_exercises(folder / "exercises.py").values():
            texts += [mistake.hint for mistake in exercise.mistakes.values()]
        for cell in read_chapter(folder).cells:
            texts.append(
                re.sub(
                    f"{re.escape(BEGIN)}.*?{re.escape(END)}",
                    "",
                    cell.source,
                    flags=re.DOTALL,
                )
            )
    texts += [path.read_text(encoding="utf-8") for path in package_files()]
    text = "\n".join(texts)
    return (
        f"{text}\n{text.replace('`', '')}"  # as it is written, and as it is displayed
    )


def find_leaks(archive: bytes, secrets: dict[str, str]) -> list[Leak]:
    """Every secret line in a zip archive, wherever it lies."""
    return [
        Leak(line, origin, name)
        for name, text in texts(archive)
        for line, origin in secrets.items()
        if line in text
    ]


def texts(archive: bytes, within: str = "") -> Iterator[tuple[str, str]]:
    """The name and the text of each file of a zip archive, archives unpacked.

    JSON is read, so that no escape hides a line; of other bytes the printable runs
    are taken, so that a header or a tensor hides none either.
    """
    with zipfile.ZipFile(io.BytesIO(archive)) as unpacked:
        for entry in unpacked.infolist():
            name, data = f"{within}{entry.filename}", unpacked.read(entry)
            yield name, "\n".join([entry.filename, entry.comment.decode("latin-1")])
            if zipfile.is_zipfile(io.BytesIO(data)):
                yield from texts(data, f"{name}/")
            else:
                yield name, text_of(name, data)


def text_of(name: str, data: bytes) -> str:
    """Everything in a file that could be read as text."""
    if name.endswith(".safetensors"):
        size = int.from_bytes(data[:8], "little")
        header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
        runs = [run.decode("ascii") for run in PRINTABLE.findall(rest)]
        return "\n".join([*_strings(header), *runs])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "\n".join(run.decode("ascii") for run in PRINTABLE.findall(data))
    try:
        return "\n".join([text, *_strings(json.loads(text))])
    except ValueError:
        return text


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, JSON within strings read too."""
    if isinstance(value, str):
        yield value
        if value[:1] in "[{":
            try:
                inner = json.loads(value)
            except ValueError:
                return
            yield from _strings(inner)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            yield "".join(value)
        for item in value:
            yield from _strings(item)
