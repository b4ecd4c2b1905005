"""Keep a finished study as evidence: its study.json under runs/recorded, and the pages that are made from it in docs.

    python benchmarks/record_study.py runs/lr [--text runs/text]

Names of places on this machine become those that a reader would have (runs/NAME, and the folder of texts); nothing else
changes.  Pages are written by `weightless study`'s own writer; tests/study/test_recorded.py holds them to the evidence.
A study with cells that are not over (missing, running, lost) is refused.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from record_run import as_read, asked_for

from weightless.base.files import atomic_write
from weightless.study.records import read_evidence
from weightless.study.writeup import write

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("writeup.md", "all.md", "figure-*.svg")
OPEN = ("missing", "running", "lost")


def recorded(folder: Path, texts: str) -> str:
    """study.json as it is kept."""
    if not (folder / "study.json").is_file():
        raise SystemExit(f"{folder}: study.json missing: run the study to its end first")
    kept = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    still = [f"{cell['arm']} s{cell['seed']} {cell['status']}" for cell in kept["cells"] if cell["status"] in OPEN]
    if still:
        raise SystemExit(f"{folder}: {len(still)} cells are not over ({still[0]}): run the study to its end first")
    return as_read(json.dumps(kept, indent=1, ensure_ascii=False), folder, kept["name"], texts) + "\n"


def pages(kept: Path) -> dict[str, bytes]:
    """{name: content} of what is shown of a recorded study."""
    with tempfile.TemporaryDirectory() as place:
        write(read_evidence(kept.parent), Path(place))
        return {path.name: path.read_bytes() for pattern in PAGES for path in sorted(Path(place).glob(pattern))}


def main() -> None:
    asked = asked_for(__doc__)
    text = recorded(asked.run, asked.text)
    name = json.loads(text)["name"]
    kept, shown = ROOT / "runs/recorded" / name / "study.json", ROOT / "docs/studies" / name
    kept.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(kept, text)
    shutil.rmtree(shown, ignore_errors=True)
    shown.mkdir(parents=True)
    for page, content in pages(kept).items():
        atomic_write(shown / page, content)
    print(f"{kept.relative_to(ROOT)}, {shown.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
