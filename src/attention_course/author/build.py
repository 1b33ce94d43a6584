"""Build the chapters' editions: only what changed, in parallel, all or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from pathlib import Path

from attention_course.author.processes import worker_pool

STAMP = "attention_course"
"""Key of a lesson's metadata under which it keeps what it was built from."""

KEY_FILE = "checks.safetensors"


def edition_paths(slug: str) -> dict[str, Path]:
    """Where the files of one chapter lie, relative to the course's folder."""
    return {
        "lesson": Path("notebooks") / f"{slug}.ipynb",
        "source": Path("source") / slug / f"{slug}.ipynb",
        "source_key": Path("source") / slug / KEY_FILE,
        "release": Path("release") / slug / f"{slug}.ipynb",
        "release_key": Path("release") / slug / KEY_FILE,
        "solution": Path("solutions") / slug / f"{slug}.ipynb",
        "solution_key": Path("solutions") / slug / KEY_FILE,
    }


def fingerprint(root: Path, folder: Path) -> str:
    """A hash of everything that a chapter's editions are made from."""
    package = Path(__file__).resolve().parents[1]
    files = [folder / "chapter.py", folder / "exercises.py"]
    files += sorted((package / "learn").rglob("*.py"))
    files += sorted((package / "author").rglob("*.py"))
    digest = hashlib.sha256()
    for file in [*files, root / "requirements.lock", root / "CITATION.cff"]:
        digest.update(file.name.encode() + b"\0")
        digest.update(file.read_bytes() if file.exists() else b"missing")
    return digest.hexdigest()


def is_current(root: Path, folder: Path) -> bool:
    """Whether all editions of a chapter are there and made from what is there now."""
    paths = edition_paths(folder.name)
    try:
        lesson = json.loads((root / paths["lesson"]).read_text(encoding="utf-8"))
        stamp = lesson["metadata"].pop(STAMP)
    except (OSError, ValueError, KeyError):
        return False
    if stamp.get("fingerprint") != fingerprint(root, folder):
        return False
    hashes = {n: _hash(root / p) for n, p in paths.items() if n != "lesson"}
    return stamp.get("editions") == {**hashes, "lesson": _lesson_hash(lesson)}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"


def _lesson_hash(lesson: dict) -> str:
    return hashlib.sha256(json.dumps(lesson, sort_keys=True).encode()).hexdigest()


def write_index(root: Path, *, check: bool = False) -> bool:
    """Write release/README.md, unless it is current; returns whether it was.

    With `check` nothing is written.
    """
    from attention_course.author.published import release_index

    slugs = [p.parent.name for p in sorted((root / "chapters").glob("*/chapter.py"))]
    built = [s for s in slugs if (root / edition_paths(s)["release"]).exists()]
    path, text = root / "release" / "README.md", release_index(root, built)
    if text is None or (path.exists() and path.read_text(encoding="utf-8") == text):
        return True
    if not check:
        path.write_text(text, encoding="utf-8", newline="\n")
    return False


def strangers(root: Path) -> list[Path]:
    """Editions of chapters that are no longer there."""
    known = {p.parent.name for p in (root / "chapters").glob("*/chapter.py")}
    found = [p for p in (root / "notebooks").glob("*.ipynb") if p.stem not in known]
    for edition in ("source", "release", "solutions"):
        found += [
            p
            for p in (root / edition).glob("*")
            if (p / f"{p.name}.ipynb").exists() and p.name not in known
        ]
    return sorted(found)


@dataclass
class BuildReport:
    """What a build did: chapters built, left as they were, and failed with a reason."""

    built: list[str] = field(default_factory=list)
    current: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    removed: list[Path] = field(default_factory=list)


def build(
    root: Path,
    folders: list[Path],
    *,
    force: bool = False,
    jobs: int | None = None,
    tell: Callable[[str], None] = print,
) -> BuildReport:
    """Build the editions of the given chapters under `root`.

    A chapter's editions are replaced together once all of them are made: one that
    fails leaves its previous editions whole, and the others go on.
    """
    report = BuildReport()
    stale = [f for f in folders if force or not is_current(root, f)]
    report.current = [f.name for f in folders if f not in stale]
    if not stale:
        return report
    made: dict[str, dict[str, bytes]] = {f.name: {} for f in stale}
    prints = {f.name: fingerprint(root, f) for f in stale}
    started = time.monotonic()
    for folder, part, files, problem, seconds in _run(stale, jobs):
        if problem:
            if folder.name not in report.failed:
                tell(f"  {folder.name}: failed\n{problem}")
            report.failed.setdefault(folder.name, problem)
            continue
        made[folder.name].update(files)
        tell(f"  {folder.name}: {part} ({seconds:.0f} s)")
        if len(made[folder.name]) == len(edition_paths(folder.name)):
            _land(root, folder, made[folder.name], prints[folder.name])
            report.built.append(folder.name)
    tell(
        f"built {len(report.built)}, unchanged {len(report.current)}, failed "
        f"{len(report.failed)} in {time.monotonic() - started:.0f} s"
    )
    return report


Result = tuple[Path, str, dict[str, bytes], str, float]


def _run(stale: list[Path], jobs: int | None) -> Iterable[Result]:
    tasks = [(folder, part) for folder in stale for part in ("exercises", "lesson")]
    jobs = jobs or min(len(tasks), os.cpu_count() or 1)
    if jobs == 1:
        yield from (_make(*task) for task in tasks)
        return
    with worker_pool(jobs) as pool:
        waiting = {pool.submit(_make, *task): task for task in tasks}
        for future in as_completed(waiting):
            folder, part = waiting[future]
            try:
                yield future.result()
            except Exception as error:
                yield folder, part, {}, f"the build process died: {error}", 0.0


def _make(folder: Path, part: str) -> Result:
    """One part of one chapter, in a process of its own."""
    from attention_course.author.making import make_exercises, make_lesson

    started = time.monotonic()
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    )
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    make = make_exercises if part == "exercises" else make_lesson
    try:
        files = make(folder)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        return folder, part, {}, problem, time.monotonic() - started
    return folder, part, files, "", time.monotonic() - started


def _land(root: Path, folder: Path, files: dict[str, bytes], made_from: str) -> None:
    """Put all editions of a chapter in place: written beside first, then renamed."""
    from attention_course.author.making import same_key

    paths = edition_paths(folder.name)
    old_key = root / paths["release_key"]
    if old_key.exists() and same_key(old_key.read_bytes(), files["release_key"]):
        kept = old_key.read_bytes()
        files |= dict.fromkeys(("source_key", "release_key", "solution_key"), kept)
    lesson = json.loads(files["lesson"])
    hashes = {
        n: hashlib.sha256(data).hexdigest()
        for n, data in files.items()
        if n != "lesson"
    }
    lesson["metadata"][STAMP] = {
        "chapter": folder.name,
        "fingerprint": made_from,
        "editions": {**hashes, "lesson": _lesson_hash(lesson)},
    }
    text = json.dumps(lesson, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    files["lesson"] = text.encode()
    beside = {}
    for name, data in files.items():
        target = root / paths[name]
        target.parent.mkdir(parents=True, exist_ok=True)
        beside[name] = target.with_name(f".{target.name}.new")
        beside[name].write_bytes(data)
    # The lesson holds the stamp, so it comes last: killed here, the chapter is stale.
    for name in sorted(files, key=lambda n: n == "lesson"):
        os.replace(beside[name], root / paths[name])


def remove(paths: Iterable[Path]) -> None:
    """Delete editions of chapters that are gone."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
