"""`pytest --skipped-before` runs what the last run skipped, and nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CONFTEST = """
from skipped_tests import SkippedTests

def pytest_addoption(parser):
    parser.addoption("--skipped-before", action="store_true")

def pytest_configure(config):
    config.pluginmanager.register(SkippedTests(config))
"""
ONE_OF_TWO = """
import pytest

def test_one():
    pass

@pytest.mark.parametrize("number", [1, 2])
def test_two(number):
    pytest.importorskip("absent_package") if number == 2 else None
"""
WHOLE_FILE = """
import pytest

pytest.importorskip("absent_package")

def test_three():
    pass
"""


def last_line(folder, *arguments):
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.splitlines()[-1]


@pytest.mark.parametrize("processes", [(), ("-n", "2", "--dist", "loadfile")], ids=["one", "two"])
def test_what_was_skipped_runs_once_its_package_is_there(tmp_path, processes):
    for name, text in {"conftest": CONFTEST, "test_part": ONE_OF_TWO, "test_whole": WHOLE_FILE}.items():
        (tmp_path / f"{name}.py").write_text(text)
    shutil.copy(TESTS / "skipped_tests.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    assert last_line(tmp_path, *processes).startswith("2 passed, 2 skipped")
    (tmp_path / "absent_package.py").touch()
    for _ in range(2):  # such a run leaves the list as it was
        assert last_line(tmp_path, "--skipped-before").startswith("2 passed, 2 deselected")
    assert last_line(tmp_path, "--skipped-before", *processes).startswith("2 passed")
