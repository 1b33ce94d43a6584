"""Where the course is published, and how a chapter is opened from there.

The address stands in one place, `repository-code` of CITATION.cff. Who publishes the
course elsewhere changes it there and builds: links and first cells follow.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from attention_course.learn.answer_key import FILE_NAME

BRANCH = "main"
COLAB = "https://colab.research.google.com"
BINDER = "https://mybinder.org"

FIRST_CELL = """\
# On Google Colab this installs the course and fetches its checks. Elsewhere: nothing.
import sys

if "google.colab" in sys.modules:
    import subprocess
    from urllib.request import urlretrieve

    course = "{repository}"
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, f"git+{{course}}"], check=True)
    key = f"{{course}}/raw/{branch}/release/{slug}/{key}"
    urlretrieve(key, "{key}")\
"""

INDEX = """\
# The chapters, as students receive them

Built by `attention-course build`; don't edit. Each folder holds a notebook and
`{key}`, from which its checks read: keep the two together.

Without installing anything you can open a chapter on Google Colab or on Binder. Colab
needs a Google account and keeps your copy; Binder needs none and forgets it when you
leave, so download your notebook.

| chapter | on Colab | on Binder |
|---|---|---|
{rows}
"""


def repository(root: Path) -> str | None:
    """The address of the published repository, or None if the course names none."""
    path = root / "CITATION.cff"
    if not path.exists():
        return None
    address = yaml.safe_load(path.read_text(encoding="utf-8")).get("repository-code")
    return address.rstrip("/") if address else None


def colab_url(address: str, slug: str) -> str:
    """The address that opens a chapter's release on Google Colab."""
    path = address.removeprefix("https://github.com/")
    return f"{COLAB}/github/{path}/blob/{BRANCH}/release/{slug}/{slug}.ipynb"


def binder_url(address: str, slug: str) -> str:
    """The address that opens a chapter's release in JupyterLab on Binder."""
    path = address.removeprefix("https://github.com/")
    return (
        f"{BINDER}/v2/gh/{path}/{BRANCH}?urlpath=lab/tree/release/{slug}/{slug}.ipynb"
    )


def first_cell(root: Path, slug: str) -> str | None:
    """The code that installs on Colab what it lacks; None without an address."""
    address = repository(root)
    if address is None:
        return None
    return FIRST_CELL.format(
        repository=address, branch=BRANCH, slug=slug, key=FILE_NAME
    )


def release_index(root: Path, slugs: list[str]) -> str | None:
    """The text of release/README.md: every chapter with its links."""
    address = repository(root)
    if address is None:
        return None
    rows = []
    for slug in slugs:
        notebook = root / "release" / slug / f"{slug}.ipynb"
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        title = "".join(cells[0]["source"]).splitlines()[0].lstrip("# ")
        colab = f"[![Open {title} in Colab]({COLAB}/assets/colab-badge.svg)]"
        binder = f"[![Open {title} on Binder]({BINDER}/badge_logo.svg)]"
        rows.append(
            f"| [{title}]({slug}/{slug}.ipynb) | {colab}({colab_url(address, slug)}) "
            f"| {binder}({binder_url(address, slug)}) |"
        )
    return INDEX.format(key=FILE_NAME, rows="\n".join(rows))
