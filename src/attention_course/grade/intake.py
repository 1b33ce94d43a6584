"""Take a submission in: hostile bytes become the release's cells, or are held.

What an honest accident breaks is repaired and said; what cannot be read is held with
the reason and the cure. Nothing that a notebook says about itself is believed: which
cell is which exercise's, its points and its checks come from the release.
"""

from __future__ import annotations

import ast
import difflib
import functools
import itertools
import json
import re
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from attention_course.grade.contract import CellKind, Held, Intake, RunCell
from attention_course.grade.harmless import line
from attention_course.grade.release import Bundle, ReleaseCell

MOST_CELLS = 2000
MOST_CODE = 2_000_000
MOST_VALUES = 3_000_000
LONGEST_SOURCE = 1_000_000
SIMILAR = 0.6
SHORT = 20_000
"""Characters of a cell whose syntax is kept for the next look at it."""

ANOTHER = "ask for another copy"


class _Hold(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.held = Held(reason, detail)


@dataclass
class _Cell:
    """One cell of the submission. `place` is its position in the student's order."""

    kind: str
    source: str
    id: str
    grade_id: str
    metadata: Mapping[str, Any]
    place: int
    names: frozenset[str] | None = None
    matched: bool = False


@dataclass
class _Slot:
    """A release cell and the submission's cells that stand for it."""

    release: ReleaseCell
    cells: list[_Cell] = field(default_factory=list)


def take_in(data: bytes, bundle: Bundle, noticed: Sequence[str] = ()) -> Intake | Held:
    """A notebook's bytes as cells in release order, or the reason why they are held.

    `noticed` are repairs made before, such as a renamed file.
    """
    try:
        notebook = parse(data)
        cells, repairs = _read_cells(notebook)
        if not cells:
            raise _Hold(
                "no cells", f"the notebook has no cells: {ANOTHER}, it may be empty."
            )
        repairs = [*noticed, *_said_of_bytes(data), *repairs]
        return _arrange(cells, bundle, repairs)
    except _Hold as hold:
        return hold.held


def is_blank(data: bytes, bundle: Bundle) -> bool:
    """Whether no cell but those released defines what is asked for."""
    try:
        cells, _ = _read_cells(parse(data))
    except _Hold:
        return False
    released = {c.source.strip() for c in bundle.cells}
    own = [c for c in cells if c.source.strip() not in released]
    return _names_in(own).isdisjoint(bundle.points)


def parse(data: bytes) -> dict[str, Any]:
    """The notebook's JSON. Raises `_Hold`."""
    if not data.strip(b" \t\r\n\0"):
        raise _Hold("empty", f"the file is empty: {ANOTHER}.")
    content = data.removeprefix(b"\xef\xbb\xbf")
    shift = len(data) - len(content)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Hold(
            "not UTF-8",
            f"the file is not UTF-8 text at byte {error.start + shift}: {ANOTHER}, "
            "saved by Jupyter.",
        ) from error
    if content.count(b",") + content.count(b"[") + content.count(b"{") > MOST_VALUES:
        raise _Hold(
            "too large",
            "the notebook holds millions of values: ask for a copy with its outputs "
            "cleared.",
        )
    if re.search(r"^<{7} ", text, re.M):
        raise _Hold(
            "merge conflict",
            "the file holds the marks of a Git merge conflict (<<<<<<<): ask for the "
            "notebook without it.",
        )
    try:
        notebook = json.loads(text, parse_int=_integer, parse_constant=_constant)
    except json.JSONDecodeError as error:
        position = len(text[: error.pos].encode()) + shift
        ends = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        reason = "truncated" if ends else "not JSON"
        what = "breaks off" if ends else "is not valid JSON"
        raise _Hold(
            reason, f"the file {what} at byte {position}: {ANOTHER}."
        ) from error
    except RecursionError as error:
        raise _Hold(
            "not JSON", f"the file is nested too deeply to be a notebook: {ANOTHER}."
        ) from error
    if not isinstance(notebook, dict) or not (
        isinstance(notebook.get("cells"), list)
        or isinstance(notebook.get("worksheets"), list)
    ):
        raise _Hold(
            "not a notebook", f"the file is JSON, but not a notebook: {ANOTHER}."
        )
    return notebook


def _integer(digits: str) -> int:
    return int(digits) if len(digits) < 20 else 0


def _constant(name: str) -> None:
    return None


def _said_of_bytes(data: bytes) -> list[str]:
    said = []
    if data.startswith(b"\xef\xbb\xbf"):
        said.append("the file began with a byte order mark")
    if b"\r\n" in data[:4096]:
        said.append("the file had Windows line ends")
    return said


def _read_cells(notebook: Mapping[str, Any]) -> tuple[list[_Cell], list[str]]:
    repairs = []
    raw = notebook.get("cells")
    if not isinstance(raw, list):
        sheets = [s for s in notebook["worksheets"] if isinstance(s, dict)]
        raw = [c for s in sheets for c in _list(s.get("cells"))]
        repairs.append("the notebook had format 3")
    if len(raw) > MOST_CELLS:
        raise _Hold(
            "too many cells",
            f"the notebook has {len(raw)} cells, more than {MOST_CELLS}: {ANOTHER}.",
        )
    cells = []
    broken = 0
    for place, item in enumerate(raw):
        cell = _read_cell(item, place)
        if cell is None:
            broken += 1
        elif cell.source.strip():
            cells.append(cell)
    code = sum(len(c.source) for c in cells if c.kind == "code")
    if code > MOST_CODE:  # reading it takes seconds a million
        raise _Hold(
            "too large",
            f"the notebook has {code:,} characters of code, more than {MOST_CODE:,}: "
            f"{ANOTHER}, without data written into its code.",
        )
    if broken:
        repairs.append(f"{broken} cells could not be read and were left out")
    return cells, repairs


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _read_cell(item: object, place: int) -> _Cell | None:
    if not isinstance(item, dict):
        return None
    kind = item.get("cell_type")
    source = item.get("source", item.get("input", ""))
    if isinstance(source, list):
        if not all(isinstance(row, str) for row in source):
            return None
        source = "".join(source)
    if not isinstance(source, str) or not isinstance(kind, str):
        return None
    if len(source) > LONGEST_SOURCE:
        raise _Hold(
            "too large",
            f"cell {place + 1} has {len(source):,} characters: {ANOTHER}.",
        )
    if kind == "heading":
        level = item.get("level")
        level = level if isinstance(level, int) and 1 <= level <= 6 else 1
        kind, source = "markdown", "#" * level + " " + source
    if kind not in ("code", "markdown", "raw"):
        return None
    if "\r" in source:
        source = source.replace("\r\n", "\n").replace("\r", "\n")
    source = source.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    metadata = item.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    known = metadata.get("nbgrader")
    known = known if isinstance(known, dict) else {}
    name, identity = known.get("grade_id"), item.get("id")
    return _Cell(
        kind,
        source,
        identity if isinstance(identity, str) else "",
        name if isinstance(name, str) else "",
        known,
        place,
    )


def _arrange(cells: list[_Cell], bundle: Bundle, repairs: list[str]) -> Intake:
    slots = [_Slot(cell) for cell in bundle.cells]
    _match_by_name(slots, cells)
    _match_by_source(slots, cells)
    _match_by_definition(slots, cells, repairs)
    _refuse_another_chapter(slots, cells, bundle)
    _match_by_likeness(slots, cells)
    if _is_reversed(slots):
        repairs.append("the cells stood in reversed order")
        last = max(c.place for c in cells)
        for cell in cells:
            cell.place = last - cell.place
        cells = sorted(cells, key=lambda c: c.place)
        for slot in slots:
            slot.cells.sort(key=lambda c: c.place)
    elif _is_moved(slots):
        repairs.append("cells had been moved: put back in order")
    _join_splits(slots, cells, repairs)
    repairs += _metadata_repairs(slots)
    return Intake(_in_order(slots, cells, repairs), tuple(map(line, repairs)))


def _match_by_name(slots: list[_Slot], cells: list[_Cell]) -> None:
    """By nbgrader's name, or by the cell's id where the name is gone."""
    by_name = {s.release.grade_id: s for s in slots if s.release.grade_id}
    by_id = {s.release.id: s for s in slots}
    for cell in cells:
        slot = by_name.get(cell.grade_id) or by_id.get(cell.id)
        if slot is not None and _may_stand_for(cell, slot.release):
            slot.cells.append(cell)
            cell.matched = True


def _may_stand_for(cell: _Cell, release: ReleaseCell) -> bool:
    if release.role in ("answer", "check"):
        return True  # the cell's type may have been changed by a slip of a key
    return (cell.kind == "code") == (release.role == "demo")


def _match_by_source(slots: list[_Slot], cells: list[_Cell]) -> None:
    free = {s.release.source.strip(): s for s in slots if not s.cells}
    for cell in cells:
        slot = free.get(cell.source.strip())
        if not cell.matched and slot and _may_stand_for(cell, slot.release):
            slot.cells.append(cell)
            cell.matched = True
            if slot.release.role != "check":
                del free[cell.source.strip()]


def _match_by_definition(
    slots: list[_Slot], cells: list[_Cell], repairs: list[str]
) -> None:
    """An answer whose cell lost its name, or stayed blank, is the cell that defines it.

    A released cell in which nothing was written hides no answer that stands elsewhere.
    """
    answers = [s for s in slots if s.release.role == "answer"]
    blank = [s for s in answers if all(_is_released(c, s) for c in s.cells)]
    others = [s for s in slots if s.release.role != "check" and s not in blank]
    have = {n for slot in others for n in _names_in(slot.cells)}
    # Names that an answer's cell defines, besides its own.
    written = {n for s in others if s in answers for n in _names_in(s.cells)}
    for slot in blank:
        name = slot.release.exercise
        if name is None or (name in have and not slot.cells):
            continue
        own = [c for c in cells if not c.matched and name in _names(c)]
        if slot.cells:  # else prose may be an answer whose cell's type was changed
            own = [c for c in own if c.kind == "code"]
        if own:
            if slot.cells:
                repairs.append(f"{name} was written in a cell of its own: taken")
            slot.cells = own
            for cell in own:
                cell.matched = True
            written |= _names_in(own)
        elif name in written and slot.cells:
            repairs.append(f"{name} was written in another answer's cell: taken")
            slot.cells = []


def _names_in(cells: Iterable[_Cell]) -> set[str]:
    return {n for c in cells if c.kind == "code" for n in _names(c)}


def _is_released(cell: _Cell, slot: _Slot) -> bool:
    return cell.kind == "code" and cell.source.strip() == slot.release.source.strip()


def _names(cell: _Cell) -> frozenset[str]:
    """The names that a cell's code defines at its top level."""
    if cell.names is None:
        cell.names = _defined(cell.source)
    return cell.names


DEFINES = re.compile(
    r"^(?:async[ \t]+def|def|class)[ \t]+(\w+)|^(\w+)[ \t]*(?::[^=\n]+)?=(?!=)", re.M
)


def _defined(source: str) -> frozenset[str]:
    tree = syntax_tree(source)
    if tree is None:
        return frozenset(a or b for a, b in DEFINES.findall(source))
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {t.id for t in targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {a.asname or a.name.partition(".")[0] for a in node.names}
    return frozenset(found)


CALL = re.compile(r"^check\(.*\)[ \t]*$", re.MULTILINE)
MAGIC = re.compile(r"^([ \t]*)[%!].*$", re.MULTILINE)


def syntax_tree(source: str) -> ast.Module | None:
    """The code's syntax tree, not to be changed, or None if it is not Python.

    What is short is kept: most cells of most submissions are as released.
    """
    return _kept_tree(source) if len(source) <= SHORT else _tree(source)


def _tree(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(MAGIC.sub(r"\1pass", source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


_kept_tree = functools.lru_cache(maxsize=256)(_tree)


def _refuse_another_chapter(
    slots: list[_Slot], cells: list[_Cell], bundle: Bundle
) -> None:
    """Hold what shares no exercise and hardly a cell with the chapter."""
    ours = [s for s in slots if s.release.exercise and s.cells]
    shared = sum(bool(s.cells) for s in slots)
    if ours or shared * 10 >= len(slots):
        return
    title = next((c.source for c in cells if c.source.startswith("# ")), "")
    called = f' (its title is "{line(title.splitlines()[0], 60)}")' if title else ""
    raise _Hold(
        "wrong chapter",
        f"the notebook{called} has none of the exercises of {bundle.chapter}: ask for "
        "the right one.",
    )


def _match_by_likeness(slots: list[_Slot], cells: list[_Cell]) -> None:
    """Prose and demos that were changed and lost their ids: the most similar one."""
    free = [s for s in slots if not s.cells and not s.release.exercise]
    rest = [c for c in cells if not c.matched]
    if not free or not rest or len(free) * len(rest) > 5000:
        return
    for cell in rest:
        best, share = None, SIMILAR
        matcher = difflib.SequenceMatcher(autojunk=False)
        matcher.set_seq2(cell.source[:2000])
        for slot in free:
            if slot.cells or not _may_stand_for(cell, slot.release):
                continue
            matcher.set_seq1(slot.release.source[:2000])
            if matcher.real_quick_ratio() > share and matcher.quick_ratio() > share:
                ratio = matcher.ratio()
                if ratio > share:
                    best, share = slot, ratio
        if best is not None:
            best.cells.append(cell)
            cell.matched = True


def _places(slots: list[_Slot]) -> list[int]:
    return [s.cells[0].place for s in slots if len(s.cells) == 1]


def _is_reversed(slots: list[_Slot]) -> bool:
    places = _places(slots)
    falls = sum(a > b for a, b in pairwise(places))
    return len(places) > 2 and falls > 0.8 * (len(places) - 1)


def _is_moved(slots: list[_Slot]) -> bool:
    places = _places(slots)
    return any(a > b for a, b in pairwise(places))


def _join_splits(slots: list[_Slot], cells: list[_Cell], repairs: list[str]) -> None:
    """An answer that was cut in cells is joined.

    Either the first is no Python by itself, or the next begins in the middle.
    """
    for slot in slots:
        if slot.release.role != "answer" or len(slot.cells) != 1:
            continue
        first = slot.cells[0]
        following = [c for c in cells if c.place > first.place]
        whole = syntax_tree(first.source) is not None
        if whole and slot.release.exercise in _names(first):
            following = list(itertools.takewhile(_goes_on, following))
        joined, used = first.source, []
        for cell in following[:4]:
            if cell.matched or cell.kind != "code":
                break
            joined += "\n" + cell.source
            used.append(cell)
            if syntax_tree(joined) is not None and slot.release.exercise in _defined(
                joined
            ):
                first.source, first.names = joined, None
                for part in used:
                    part.matched = True
                    part.source = ""
                repairs.append(
                    f"the answer {slot.release.exercise} was cut into "
                    f"{len(used) + 1} cells: joined"
                )
                break


def _goes_on(cell: _Cell) -> bool:
    """Whether a cell is indented and can only be the rest of a function or a class.

    Code that is merely indented, which Jupyter runs all the same, stays a cell.
    """
    rows = [r for r in cell.source.splitlines() if r.strip() and r.strip()[0] != "#"]
    if not rows or rows[0][0] not in " \t":
        return False
    tree = syntax_tree(textwrap.dedent(cell.source))
    return tree is not None and any(map(_is_inner, tree.body))


def _is_inner(node: ast.stmt) -> bool:
    """Whether a statement has no meaning at a cell's top level."""
    if isinstance(node, ast.FunctionDef):
        arguments = [*node.args.posonlyargs, *node.args.args]
        return bool(arguments) and arguments[0].arg == "self"
    if isinstance(node, ast.ClassDef):
        return False
    blocks = [b for _, b in ast.iter_fields(node) if isinstance(b, list)]
    inner = [n for block in blocks for n in block if isinstance(n, ast.stmt)]
    return isinstance(node, ast.Return) or any(map(_is_inner, inner))


def _metadata_repairs(slots: list[_Slot]) -> list[str]:
    lost, edited, older = [], [], []
    for slot in slots:
        known = slot.release.metadata.get("nbgrader")
        if known is None or not slot.cells:
            continue
        own, name = slot.cells[0].metadata, str(slot.release.grade_id)
        if not own:
            lost.append(name)
        elif own.get("schema_version") != known.get("schema_version"):
            older.append(name)
        elif any(own.get(k) != v for k, v in known.items() if k != "checksum"):
            edited.append(name)
    said = {
        "had lost its metadata": lost,
        "had another schema version": older,
        "had edited metadata": edited,
    }
    return [
        f"{_listed(names)} {what}: restored" for what, names in said.items() if names
    ]


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if shown[4:] else "")


def _in_order(
    slots: list[_Slot], cells: list[_Cell], repairs: list[str]
) -> tuple[RunCell, ...]:
    """The release's cells in its order, each student's own after its predecessor."""
    defined = {n for c in cells if c.kind == "code" for n in _names(c)}
    groups = [_stand_in(slot, defined, repairs) for slot in slots]
    where = {c.place: index for index, s in enumerate(slots) for c in s.cells}
    first: list[RunCell] = []
    anchor = -1
    for cell in cells:
        if cell.place in where:
            anchor = where[cell.place]
        elif not cell.matched and cell.source.strip():
            target = groups[anchor] if anchor >= 0 else first
            target.append(_own(cell, len(target)))
    return _distinct([*first, *(cell for group in groups for cell in group)])


def _own(cell: _Cell, number: int) -> RunCell:
    kind: CellKind = "student" if cell.kind == "code" else "markdown"
    return RunCell(f"own-{cell.place}-{number}", kind, cell.source)


def _stand_in(slot: _Slot, defined: set[str], repairs: list[str]) -> list[RunCell]:
    release, name = slot.release, slot.release.exercise
    label = release.grade_id or release.id
    if release.role == "check":
        sources = {c.source.strip() for c in slot.cells}
        if not slot.cells:
            repairs.append(f"{label} was deleted: put back")
        elif sources != {release.source.strip()}:
            repairs.append(f"{label} was changed: put back as released")
        # What was written into the check's cell is the student's: it runs before it.
        written = [CALL.sub("", c.source).strip() for c in slot.cells]
        own = [
            RunCell(f"own-{c.place}", "student", text)
            for c, text in zip(slot.cells, written, strict=True)
            if text and c.kind == "code"
        ]
        return [*own, RunCell(release.id, "check", release.source, name)]
    if not slot.cells:
        if release.role == "answer" and name in defined:
            return []  # merged into another cell
        if release.role == "answer":
            repairs.append(f"{label} was deleted: put back as released")
        elif release.role == "demo":
            repairs.append("a demo cell was deleted: put back")
        else:
            return []
        return [RunCell(release.id, release.role, release.source, name)]
    if release.role == "markdown":
        return [
            RunCell(_numbered(release.id, n), "markdown", c.source)
            for n, c in enumerate(_unlike(slot.cells))
        ]
    if any(c.kind != "code" for c in slot.cells):
        repairs.append(f"{label} was no code cell: read as code")
        for cell in slot.cells:
            cell.source = _without_fence(cell.source)
    kept = _unlike(slot.cells)
    if len(slot.cells) > 1:
        repairs.append(f"{label} was there {len(slot.cells)} times")
        if release.role == "answer":
            # A copy of the empty cell takes nothing away from the one that was filled.
            filled = [c for c in kept if c.source.strip() != release.source.strip()]
            kept = filled or kept[:1]
    made = []
    if release.role == "demo" and _lost_imports(release, kept):
        # Once it had run, the student's own kernel knew the names all the same.
        repairs.append("a cell's imports were taken out: put back before it")
    if release.role == "demo" and _changed_imports(release, kept):
        # An import that was added may fail here, before those of the course.
        made.append(RunCell(f"{release.id[:50]}-released", "demo", release.source))
    for number, cell in enumerate(kept):
        kind: CellKind = "answer"
        if release.role == "demo":
            same = cell.source == release.source
            kind = "demo" if same and number == 0 else "student"
        made.append(RunCell(_numbered(release.id, number), kind, cell.source, name))
    return made


FENCE = re.compile(
    r"\s*(?P<mark>`{3,}|~{3,})\w*[ \t]*\n(?P<code>.*)\n(?P=mark)\s*", re.S
)


def _without_fence(source: str) -> str:
    """Code without the marks that Markdown has around it."""
    found = FENCE.fullmatch(source)
    return found["code"] if found else source


def _lost_imports(release: ReleaseCell, kept: list[_Cell]) -> bool:
    """Whether a demo that was changed no longer imports what was released with it."""
    tree = syntax_tree(release.source)
    wanted = _imported(tree) if tree is not None else frozenset()
    return bool(wanted - frozenset().union(*(_names(cell) for cell in kept)))


def _changed_imports(release: ReleaseCell, kept: list[_Cell]) -> bool:
    """Whether a demo that imports something was changed."""
    tree = syntax_tree(release.source)
    if tree is None or not _imported(tree):
        return False
    return all(c.source != release.source for c in kept)


def _imported(tree: ast.Module) -> frozenset[str]:
    """The names that a cell imports at its top level."""
    imports = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    return frozenset(
        alias.asname or alias.name.partition(".")[0]
        for node in imports
        for alias in node.names
    )


def _unlike(cells: list[_Cell]) -> list[_Cell]:
    """The cells in order, without the earlier copies of the same text."""
    last = {c.source.strip(): c for c in cells}
    return [c for c in cells if last[c.source.strip()] is c]


def _numbered(identity: str, number: int) -> str:
    return identity if number == 0 else f"{identity[:58]}-{number + 1}"


def _distinct(cells: list[RunCell]) -> tuple[RunCell, ...]:
    seen: set[str] = set()
    made = []
    for cell in cells:
        identity, number = cell.id, 1
        while identity in seen:
            number += 1
            identity = f"{cell.id[:56]}-{number}"
        seen.add(identity)
        made.append(
            cell
            if identity == cell.id
            else RunCell(identity, cell.kind, cell.source, cell.exercise)
        )
    return tuple(made)
