"""How a package that is missing is installed, for the installation at hand."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from importlib.machinery import PathFinder
from pathlib import Path

NAME = "mambairv2"
_CLONE = Path(__file__).resolve().parents[2]
"""The clone of the repository that this file lies in, if it is in one."""


def install_extra(extra: str) -> str:
    """Return the command that adds an extra of this package, such as `ray`, to the installation at hand.

    In a clone it installs the clone in place. Anywhere else it names the packages of the extra, since mambairv2 itself
    is on no index.
    """
    if (_CLONE / "pyproject.toml").is_file():
        here = Path.cwd() == _CLONE
        constraints = "constraints.txt" if here else str(_CLONE / "constraints.txt")
        clone = "." if here else str(_CLONE)
        return f"{_pip_install()} -c {_quoted(constraints)} -e {_quoted(f'{clone}[{extra}]')}"
    return install_packages(*_packages_of(extra))


def install_packages(*requirements: str) -> str:
    """Return the command that installs packages of the index, such as `gcsfs` or `ray>=2.40`."""
    return f"{_pip_install()} {' '.join(map(_quoted, requirements))}"


def _pip_install() -> str:
    """Return the start of a command for the Python that is running; the pip of the shell may be of another one."""
    found = shutil.which("pip")
    if found and Path(found).parent == Path(sys.executable).parent:
        return "pip install"
    # Not importlib.util.find_spec: setuptools takes a search for pip as pip running, and then breaks torch.compile.
    if PathFinder.find_spec("pip") is not None:
        return f"{_quoted(sys.executable)} -m pip install"
    return f"uv pip install --python {_quoted(sys.executable)}"


def _quoted(text: str) -> str:
    """Quote for the shell of this system, where it is needed."""
    if sys.platform == "win32":
        return text if re.fullmatch(r"[\w.:\\/-]+", text) else f'"{text}"'
    return shlex.quote(text)


def _packages_of(extra: str) -> list[str]:
    """Return the requirements of an extra, with those of the extras that it names."""
    from importlib import metadata  # here, since it takes a while to import

    try:
        requirements = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        requirements = []
    found: list[str] = []
    for requirement in requirements:
        package, _, marker = requirement.partition(";")
        belongs = re.search(r"""(?:\band\s+)?\bextra\s*==\s*["']([^"']+)["']""", marker)
        if not belongs or belongs[1] != extra:
            continue
        rest = marker.replace(belongs[0], "").strip()
        if ours := re.fullmatch(rf"{NAME}\[([^\]]+)\]", package.strip()):
            for name in ours[1].split(","):
                found += _packages_of(name.strip())
        else:
            found.append(package.strip() + (f"; {rest}" if rest else ""))
    return found or [f"{NAME}[{extra}]"]
