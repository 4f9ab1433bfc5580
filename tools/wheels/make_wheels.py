"""Builds the wheel of each platform, native kernels inside, on one Linux machine: `make_wheels.py [PLATFORM ...]`.

zig's compiler makes the libraries, scikit-build-core the wheels, into `dist`. The same commit gives the same bytes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import ziglang
from targets import TARGETS, Target

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "wheels"
ZIG = Path(ziglang.__file__).parent / "zig"
OLDEST_DATE = 315532800  # 1980: zip files know none before


def date_of_commit() -> int:
    """Return the date that all files of a wheel get, in seconds: that of the commit."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(found.stdout) if found.returncode == 0 else OLDEST_DATE


def settings(target: Target, work: Path) -> dict[str, str]:
    """Return what scikit-build-core is told."""
    cmake = {"CMAKE_TOOLCHAIN_FILE": ROOT / "tools/wheels/zig.cmake", "ZIG": ZIG, "ZIG_TARGET": target.zig}
    return {
        "build-dir": str(work / target.name),
        "cmake.args": ";".join(["-GNinja", *(f"-D{name}={value}" for name, value in cmake.items())]),
        "wheel.tags": ";".join(f"py3-none-{tag}" for tag in target.tags),
        "install.strip": "false",  # the linker did; a strip of this machine knows no other formats
    }


def build(target: Target, out: Path, work: Path) -> Path:
    """Build one wheel and return it; ends the run where the kernels are not in it."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob(f"*{target.tags[0]}*.whl"):
        old.unlink()
    cache = str(WORK / "zig")  # libraries of each system: not compiled again for another folder
    environment = {"SOURCE_DATE_EPOCH": str(date_of_commit()), "ZIG_GLOBAL_CACHE_DIR": cache}
    environment |= {"ZIG_LOCAL_CACHE_DIR": cache, **os.environ}
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    command += [f"-C{name}={value}" for name, value in settings(target, work).items()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wheels = list(out.glob(f"*{target.tags[0]}*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        sys.exit(f"{target.name} was not built:\n{done.stdout}{done.stderr}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        # Without a compiler scikit-build-core makes a wheel without kernels.
        if f"mambairv2/{target.library}" not in wheel.namelist():
            wheels[0].unlink()
            sys.exit(f"{target.name}: the kernels did not compile:\n{done.stdout}{done.stderr}")
    return wheels[0]


def main() -> None:
    """Build the platforms that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [target.name for target in TARGETS]
    parser.add_argument(
        "platform", nargs="*", choices=[*names, []], help=f"{', '.join(names)}; all where none is named"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the wheels (dist)")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the compiled files (build/wheels)")
    options = parser.parse_args()
    for target in TARGETS:
        if not options.platform or target.name in options.platform:
            wheel = build(target, options.out.resolve(), options.work.resolve())
            print(f"{target.name}: {wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
