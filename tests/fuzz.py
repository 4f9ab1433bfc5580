"""Damage the files of the corpus at random and restore them: each is restored, or refused in one line.

    nice -n 19 python tests/fuzz.py --minutes 60 [--seed 0] [--keep FOLDER]

Trials run in forked processes, so that a crash of a decoder, a hang or a swollen process is a finding and not
the end. A finding is printed with its seed, and the damaged file is kept. Exit code: 1 if there were any.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

TRIALS = 200
"""By one process, unless it dies before."""
SECONDS = 20
"""Of the processor that a trial may take; they take milliseconds."""
HANGS = 300
"""Seconds after which a trial hangs, however busy the machine is."""
MEMORY = 3 * 2**30
"""Bytes of address space for a process above what it starts with."""
MAX_PIXELS = 2**22


def mutate(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """Flip, overwrite, cut, repeat, swap or splice some bytes."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 4, 16])):
        size = len(data)
        if size < 2:
            break
        early = chance.random() < 0.5  # headers are where it matters
        at = chance.randrange(min(size, 200) if early else size)
        length = min(chance.choice([1, 2, 4, 8, 64]), size - at)
        kind = chance.randrange(8)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at : at + length] = chance.randbytes(length)
        elif kind == 2:
            extreme = chance.choice([0, 1, 0x7F, 0x80, 0xFF])
            data[at : at + length] = bytes([extreme]) * length
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[at : at + length]
        elif kind == 5:
            del data[max(at, 4) :]
        elif kind == 6:
            there = chance.randrange(size - length + 1)
            data[at : at + length] = data[there : there + length]
        elif len(other) > 2:
            there = chance.randrange(len(other))
            data[at : at + length] = other[there : there + length]
    return bytes(data)


def trial(number: int, seeds: list[tuple[str, bytes]], folder: Path, restorer) -> str | None:
    """Restore one damaged file; returns what went wrong, None if all is as it must be."""
    from mambairv2.images.errors import ImageError
    from mambairv2.images.formats import FORMATS

    chance = random.Random(number)
    (name, content), (_, other) = chance.choice(seeds), chance.choice(seeds)
    source = folder / f"damaged{Path(name).suffix}"
    source.write_bytes(mutate(content, other, chance))
    target = folder / "out" / f"restored{chance.choice(list(FORMATS))}"
    page = chance.choice([None, None, None, 0, 1])
    try:
        restorer.restore_file(source, target, page=page, max_pixels=MAX_PIXELS)
    except ImageError as error:
        line = str(error)
        if "\n" in line or "; " not in line or not line.startswith((str(source), str(target))):
            return f"an odd message: {line!r}"
        if target.exists():
            return f"an output in spite of: {line}"
    except MemoryError as error:
        return f"out of memory: {error}"
    except Exception:
        return traceback.format_exc()
    else:
        if not target.exists() or target.stat().st_size == 0:
            return "no output"
    left = [path.name for path in target.parent.glob(".*")] if target.parent.exists() else []
    target.unlink(missing_ok=True)
    return f"left behind: {left}" if left else None


def work(first: int, count: int, seeds: list[tuple[str, bytes]], folder: Path, findings: Path) -> None:
    """Do trials in this process, noting the one in hand, so that the parent knows which one killed it."""
    import torch

    from mambairv2.restoration.restorer import Restorer
    from stand_in import StandIn

    torch.set_num_threads(1)
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    restorer = Restorer(StandIn(), "cpu", tile=256, overlap=16)
    for number in range(first, first + count):
        (folder / "in_hand").write_text(str(number))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(HANGS)
        wrong = trial(number, seeds, folder, restorer)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        if wrong is not None:
            with open(findings, "a") as file:
                file.write(f"{number}\t{wrong!r}\n")
            keep(number, folder, findings.parent)


def keep(number: int, folder: Path, place: Path) -> None:
    """Keep the damaged file of a trial, the last one written."""
    for path in sorted(folder.glob("damaged*"), key=lambda path: path.stat().st_mtime)[-1:]:
        path.replace(place / f"{number}{path.suffix}")


def in_child(first: int, count: int, seeds: list[tuple[str, bytes]], findings: Path) -> int:
    """Trials in a forked process; returns the number of the next one to do."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        child = os.fork()
        if child == 0:
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
            os.dup2(sys.stderr.fileno(), 2)
            work(first, count, seeds, folder, findings)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return first + count
        number = int((folder / "in_hand").read_text())
        how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status >> 8}"
        with open(findings, "a") as file:
            file.write(f"{number}\tthe process ended: {how}\n")
        keep(number, folder, findings.parent)
        return number + 1


def main() -> None:
    """Make the corpus, damage and restore until the time is over, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0, help="number of the first trial")
    parser.add_argument("--keep", type=Path, default=Path("fuzz"), help="where findings go")
    options = parser.parse_args()
    import mambairv2.restoration.restorer  # noqa: F401 (so that forked processes need not load torch)

    options.keep.mkdir(parents=True, exist_ok=True)
    findings = options.keep / "findings.tsv"
    with tempfile.TemporaryDirectory() as name:
        # Not in this process: libvips starts threads, which a fork does not carry over.
        command = [sys.executable, "-m", "corpus", name]
        subprocess.run(command, cwd=Path(__file__).parent, check=True, stdout=subprocess.DEVNULL)
        files = [path for path in sorted(Path(name, "good").iterdir()) if path.is_file()]
        seeds = [(path.name, path.read_bytes()) for path in files]
    number, start = options.seed, time.monotonic()
    while time.monotonic() - start < options.minutes * 60:
        number = in_child(number, TRIALS, seeds, findings)
        found = len(findings.read_text().splitlines()) if findings.exists() else 0
        minutes = (time.monotonic() - start) / 60
        print(f"{minutes:.1f} min: {number - options.seed} trials, {found} findings", flush=True)
    if findings.exists():
        print(re.sub(r"^", "  ", findings.read_text(), flags=re.MULTILINE))
        sys.exit(1)


if __name__ == "__main__":
    main()
