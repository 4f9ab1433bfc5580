"""The wheels of `make wheels`: what is in them, and what their libraries ask of a system.

`make test-wheels` builds them and names their folder. Elsewhere these tests skip.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from wheel_files import BY_NAME, EXPORTED, FOLDER, NEEDS_WHEELS, ROOT, TARGETS, library_of, wheel_of

REMEDY = "pip install -r tools/wheels/requirements.txt"
pytestmark = NEEDS_WHEELS
each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@pytest.fixture(scope="module")
def lief():
    return pytest.importorskip("lief", reason=REMEDY)


@each_target
def test_a_wheel_has_the_package_and_the_kernels(target):
    with zipfile.ZipFile(wheel_of(target)) as wheel:
        assert wheel.testzip() is None
        names = set(wheel.namelist())
        info = next(name.split("/")[0] for name in names if name.endswith(".dist-info/WHEEL"))
        header = Parser().parsestr(wheel.read(f"{info}/WHEEL").decode())
        needs = Parser().parsestr(wheel.read(f"{info}/METADATA").decode()).get_all("Requires-Dist")
    assert set(header.get_all("Tag")) == {f"py3-none-{tag}" for tag in target.tags}
    assert header["Root-Is-Purelib"] == "false"
    assert [name for name in names if re.search(r"\.(so|pyd|dll|dylib|pdb|a|lib)$", name)] == [
        f"mambairv2/{target.library}"
    ]
    ours = ROOT / "src"
    sources = {path.relative_to(ours).as_posix() for path in ours.glob("mambairv2/**/*") if path.suffix != ".so"}
    files = {name for name in sources if (ours / name).is_file() and "__pycache__" not in name}
    assert files <= names
    assert f"{info}/licenses/LICENSE" in names
    assert any(need.startswith("torch>=") for need in needs)


def test_there_is_no_other_wheel_in_the_folder():
    built = {wheel_of(target) for target in TARGETS}
    assert built == set(Path(FOLDER).glob("*.whl")) - set(Path(FOLDER).glob("*-any.whl"))


def test_twine_accepts_them():
    pytest.importorskip("twine", reason=REMEDY)
    files = [str(wheel_of(target)) for target in TARGETS]
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == len(TARGETS)


@pytest.mark.parametrize("name", ["linux-x86_64", "linux-aarch64"])
def test_a_linux_wheel_asks_for_no_more_than_its_name_says(name):
    pytest.importorskip("auditwheel", reason=REMEDY)
    target = BY_NAME[name]
    command = [sys.executable, "-m", "auditwheel", "show", str(wheel_of(target))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f'"{target.tags[0]}"' in done.stdout.replace("\n", " "), done.stdout + done.stderr


@each_target
def test_a_library_exports_the_kernels_and_nothing_else(target, tmp_path, lief):
    binary = lief.parse(str(library_of(target, tmp_path)))
    exported = {function.name.removeprefix("_") for function in binary.exported_functions}
    if target.name.startswith("macos"):  # zig's linker for it keeps no list of exports: C++'s new and delete leave too
        exported = {name for name in exported if not re.match(r"_Z(n|d)|_mh_dylib_header|__dso_handle", name)}
    assert exported == EXPORTED
    header = binary.header
    machine = {
        "linux": lambda: header.machine_type.name,
        "macos": lambda: header.cpu_type.name,
        "windows": lambda: header.machine.name,
    }[target.name.split("-")[0]]()
    assert machine in (("AARCH64", "ARM64") if target.name.endswith(("aarch64", "arm64")) else ("X86_64", "AMD64"))


@each_target
def test_a_library_needs_only_what_every_system_has(target, tmp_path, lief):
    libraries = lief.parse(str(library_of(target, tmp_path))).libraries
    needed = {entry if isinstance(entry, str) else entry.name for entry in libraries}
    allowed = {
        "linux": r"lib(c|m|dl|pthread)\.so\.\d|ld-linux-(x86-64|aarch64)\.so\.\d",
        "macos": r"/usr/lib/libSystem\.B\.dylib|@rpath/_kernels\.so",  # the second is its own name
        "windows": r"(?i)(kernel32|ntdll|advapi32)\.dll|api-ms-win-crt-\w+-l1-1-0\.dll",
    }[target.name.split("-")[0]]
    assert [name for name in needed if not re.fullmatch(allowed, name)] == []


@pytest.mark.parametrize("name", ["macos-x86_64", "macos-arm64"])
def test_a_library_for_macos_is_of_the_version_in_its_name_and_signed(name, tmp_path, lief):
    target = BY_NAME[name]
    binary = lief.parse(str(library_of(target, tmp_path)))
    version = binary.build_version.minos if binary.has_build_version else binary.version_min.version
    assert f"macosx_{version[0]}_{version[1]}_" in target.tags[0]
    assert binary.header.file_type.name == "DYLIB"
    assert binary.has_code_signature or name == "macos-x86_64"  # Apple's own processors run nothing unsigned


def test_the_same_source_gives_the_same_bytes(tmp_path):
    """Compiled again, in another folder."""
    target = BY_NAME["linux-aarch64"]
    command = [sys.executable, str(ROOT / "tools/wheels/make_wheels.py"), target.name]
    command += ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert next((tmp_path / "out").glob("*.whl")).read_bytes() == wheel_of(target).read_bytes()
