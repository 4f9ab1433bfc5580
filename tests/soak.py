"""Restore many files in one process and watch its memory: after a warm-up it stays flat.

    nice -n 19 python tests/soak.py --files 500 --out FOLDER [--weights sr-x2] [--side 96]

Pictures of changing sizes, kinds and formats are restored through the command line. The resident memory of the process
is noted after each. FOLDER gets `memory.json`, and `memory.png` where matplotlib is installed. Exit code: 1 if the
highest memory in a tenth of the run is more than 5 % above that of the tenth after the warm-up, or if a file failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

WARM_UP = 0.1
"""Share of the files, after which memory counts."""
GROWTH = 1.05
"""Memory at any time after the warm-up, over that of the first tenth after it."""
SUFFIXES = ("png", "jpg", "webp", "tif")


def make(folder: Path, files: int, side: int, seed: int) -> None:
    """Make pictures of many sizes: grey, colour, with transparency, and of 16 bits."""
    from stand_in import picture

    chance = random.Random(seed)
    folder.mkdir(parents=True)
    for number in range(files):
        suffix = SUFFIXES[number % len(SUFFIXES)]
        channels = chance.choice((1, 3) if suffix == "jpg" else (1, 3, 4))
        depth = chance.choice(("uint8", "uint16")) if suffix in ("png", "tif") else "uint8"
        height, width = (chance.randrange(side // 2, side + 1) for _ in range(2))
        picture(height, width, channels, depth).write_to_file(str(folder / f"{number:05}.{suffix}"))


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def restore(folder: Path, out: Path, weights: str) -> list[int]:
    """Restore the folder by the command line in this process; return its memory after each file."""
    from mambairv2.cli.main import app
    from mambairv2.cli.restore.view import RestoreView

    curve: list[int] = []
    tell = RestoreView.done

    def noting(view: RestoreView, outcome: object) -> None:
        tell(view, outcome)  # type: ignore[arg-type]
        curve.append(resident())
        if len(curve) % 50 == 0:
            print(f"{len(curve)} files, {curve[-1] / 2**20:.1f} MiB", file=sys.stderr, flush=True)

    RestoreView.done = noting  # type: ignore[assignment,method-assign]
    code: object = 0
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            app(["restore", str(folder), "-o", str(out), "--weights", weights, "--device", "cpu"])
    except SystemExit as ended:
        code = ended.code
    if code:
        sys.exit("a file could not be restored")
    return curve


def judge(curve: list[int]) -> dict[str, object]:
    """Compare the tenths of the run after the warm-up: the highest memory of each with that of the first."""
    counted = curve[int(len(curve) * WARM_UP) :]
    step = max(1, len(counted) // 10)
    tenths = [max(counted[start : start + step]) for start in range(0, len(counted) - step + 1, step)]
    growth = max(tenths) / tenths[0]
    return {"files": len(curve), "tenths_bytes": tenths, "growth": round(growth, 4), "flat": growth <= GROWTH}


def draw(curve: list[int], place: Path) -> bool:
    """Draw the curve; return whether matplotlib is there."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3), layout="constrained")
    axes.plot(range(1, len(curve) + 1), [size / 2**20 for size in curve])
    axes.set(xlabel="files restored in one process", ylabel="resident memory, MiB", ylim=(0, None))
    axes.axvline(len(curve) * WARM_UP, color="grey", linestyle=":")
    figure.savefig(place, dpi=120)
    return True


def main() -> None:
    """Make the pictures, restore them, judge and write the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--side", type=int, default=96, help="largest side of a picture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", default="sr-x2")
    parser.add_argument("--out", type=Path, default=Path("soak"), help="where the curve goes")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        return make(options.make, options.files, options.side, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        pictures = Path(name, "in")
        sizes = ["--files", str(options.files), "--side", str(options.side), "--seed", str(options.seed)]
        subprocess.run([sys.executable, __file__, "--make", str(pictures), *sizes], check=True)
        curve = restore(pictures, Path(name, "out"), options.weights)
    result = judge(curve)
    (options.out / "memory.json").write_text(json.dumps({**result, "bytes": curve}))
    drawn = draw(curve, options.out / "memory.png")
    print(json.dumps(result))
    print(f"wrote {options.out / 'memory.json'}" + f" and {options.out / 'memory.png'}" * drawn)
    sys.exit(not result["flat"])


if __name__ == "__main__":
    main()
