"""A file can be read in one go, and a folder seen at a glance."""

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("src", "tests", "csrc", "benchmarks")
TEXT = {".py", ".cpp", ".h", ".inc", ".toml", ".md", ".html", ".js", ".css"}
LINES, FILES = 300, 16


def files():
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            built = "__pycache__" in path.parts or path.name.startswith("_kernels")
            if path.is_file() and not built:
                yield path


def test_no_file_is_long():
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files() if path.suffix in TEXT}
    assert sizes
    assert {str(path.relative_to(ROOT)): lines for path, lines in sizes.items() if lines > LINES} == {}


def test_no_folder_is_full():
    counts = Counter(path.parent for path in files() if path.parent.name != "pretrained")  # three files a network
    assert {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > FILES} == {}
