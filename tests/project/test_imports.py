"""`lint-imports` sees a forbidden import wherever it stands in a file, and every room has a contract."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="import-linter is not installed: pip install -c constraints.txt '.[dev]'")

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "mambairv2"
# The copy in the working directory comes first: an editable install has a finder that is asked before it.
LINT = """
import sys
from importlib.machinery import PathFinder
sys.meta_path.insert(0, PathFinder)
from importlinter.cli import lint_imports_command
lint_imports_command()
"""


@pytest.fixture
def sources(tmp_path):
    """A copy of the package's Python files, and of the contracts beside it."""
    for path in PACKAGE.rglob("*.py"):
        copy = tmp_path / path.relative_to(PACKAGE.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder):
    """Exit code and output of lint-imports on the copy."""
    command = [sys.executable, "-c", LINT, "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    return done.returncode, done.stdout + done.stderr


def test_the_package_keeps_its_contracts(sources):
    code, said = lint(sources)
    assert code == 0, said


AT_THE_TOP = "from mambairv2.{room} import {module}\n"
IN_A_FUNCTION = "def late() -> None:\n    from mambairv2.{room} import {module}\n    print({module})\n"
FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mambairv2.{room} import {module}\n"


@pytest.mark.parametrize(
    ("file", "room", "module", "form"),
    [
        ("ops/backend_choice.py", "network", "config", AT_THE_TOP),
        ("network/layers.py", "images", "reading", IN_A_FUNCTION),
        ("network/layers.py", "network", "model", IN_A_FUNCTION),
        ("restoration/tiling.py", "evaluation", "metrics", IN_A_FUNCTION),
        ("training/step.py", "cli", "main", FOR_TYPES),
    ],
    ids=["at the top", "in a function", "a circle in a room", "one room too high", "for types only"],
)
def test_a_forbidden_import_breaks_them(sources, file, room, module, form):
    path = sources / "mambairv2" / file
    path.write_text(path.read_text(encoding="utf-8") + form.format(room=room, module=module), encoding="utf-8")
    code, said = lint(sources)
    assert code == 1, said
    assert re.search(rf"\.{path.stem} -> (mambairv2\.{room})?\.{module}", said), said


def test_every_room_is_named_in_the_contracts():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} | {"tasks"}
    contracts = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert {room for room in rooms if f'"mambairv2.{room}"' not in contracts} == set()
