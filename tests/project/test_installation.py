"""A message says how to install what is missing, in a way that works for the installation at hand."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mambairv2 import installation
from mambairv2.installation import install_extra, install_packages

METADATA = """\
Metadata-Version: 2.1
Name: mambairv2
Version: 0.1.0
Requires-Dist: torch>=2.6
Requires-Dist: pydantic>=2.7; extra == "train"
Requires-Dist: tomli>=2; python_version < "3.11" and extra == "train"
Requires-Dist: ray>=2.40; extra == 'ray'
Requires-Dist: s3fs>=2024.2 ; extra == "s3"
Requires-Dist: mambairv2[ray,s3]; extra == "dev"
"""


@pytest.fixture
def pip_of_the_shell(tmp_path, monkeypatch):
    """A Python with a pip beside it, which is the one that the shell finds."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("pip", "python"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "executable", str(folder / "python"))


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """An installation that is no clone, as pip leaves it of a wheel, a git address or an index."""
    site = tmp_path / "site"
    folder = site / "mambairv2-0.1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(METADATA)
    monkeypatch.setattr(installation, "_CLONE", tmp_path)
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    return folder


def a_clone(folder, monkeypatch):
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    monkeypatch.setattr(installation, "_CLONE", folder)
    return folder


def test_in_a_clone_it_is_the_command_of_the_documents(tmp_path, monkeypatch, pip_of_the_shell):
    monkeypatch.chdir(a_clone(tmp_path / "mambairv2", monkeypatch))
    assert install_extra("ray") == "pip install -c constraints.txt -e '.[ray]'"


@pytest.mark.parametrize("name", ["clone", "a clone", "l'été"])
def test_elsewhere_the_clone_is_named(tmp_path, monkeypatch, pip_of_the_shell, name):
    clone = a_clone(tmp_path / name, monkeypatch)
    words = shlex.split(install_extra("ray"))
    assert words == ["pip", "install", "-c", f"{clone}/constraints.txt", "-e", f"{clone}[ray]"]


@pytest.mark.parametrize(
    ("extra", "packages"),
    [
        ("ray", ["ray>=2.40"]),
        ("train", ["pydantic>=2.7", 'tomli>=2; python_version < "3.11"']),
        ("dev", ["ray>=2.40", "s3fs>=2024.2"]),
    ],
)
@pytest.mark.parametrize(
    "origin", ["", '{"url": "https://host/mambairv2.git", "vcs_info": {}}', '{"url": "file:///a.whl"}']
)
def test_without_a_clone_the_packages_are_named(wheel, pip_of_the_shell, origin, extra, packages):
    (wheel / "direct_url.json").write_text(origin)
    assert shlex.split(install_extra(extra)) == ["pip", "install", *packages]


def test_the_pip_is_that_of_the_python_that_runs(monkeypatch, tmp_path, pip_of_the_shell):
    (tmp_path / "other").mkdir()
    python = str(tmp_path / "other" / "python")
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setattr(installation.PathFinder, "find_spec", lambda name: object())
    assert install_packages("gcsfs") == f"{python} -m pip install gcsfs"
    monkeypatch.setattr(installation.PathFinder, "find_spec", lambda name: None)
    assert install_packages("gcsfs") == f"uv pip install --python {python} gcsfs"


def test_no_finder_is_asked_for_pip(monkeypatch, tmp_path):
    """That of setuptools takes the question for pip at work, and torch.compile fails from then on."""
    asked = []

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            asked.append(name)

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    install_packages("gcsfs")
    assert "pip" not in asked


def test_windows_gets_double_quotes(monkeypatch, wheel, pip_of_the_shell):
    monkeypatch.setattr(sys, "platform", "win32")
    assert install_extra("ray").endswith('install "ray>=2.40"')
    assert install_packages("gcsfs").endswith("install gcsfs")


@pytest.mark.parametrize(
    ("options", "package", "extra"),
    [
        ("restore a.png --engine ray", "ray", "ray"),
        ("restore s3://bucket/a.png -o out.png", "s3fs", "s3"),
        ("restore a.png --weights hf://owner/repo/file", "huggingface_hub", "hub"),
        ("train mine.toml", "lightning_fabric", "train"),
    ],
)
def test_a_command_that_lacks_a_package_says_how_to_get_it(tmp_path, monkeypatch, options, package, extra):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text("[train]\niterations = 1\n")
    (tmp_path / "a.png").touch()
    hidden = f"import importlib.util, sys; sys.modules[{package!r}] = None; find = importlib.util.find_spec\n"
    hidden += f"importlib.util.find_spec = lambda name, *more: None if name == {package!r} else find(name, *more)\n"
    script = f"{hidden}from mambairv2.cli.main import app; app()"
    environment = {**os.environ, "PYTHONPATH": str(Path(installation.__file__).parents[1])}
    command = [sys.executable, "-c", script, *options.split()]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.stderr.endswith(f"; {install_extra(extra)}\n")
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr
