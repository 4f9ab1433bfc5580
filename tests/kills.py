"""Kill runs at random moments and let the same command go on: nothing is lost, and every byte is as without a kill.

    nice -n 19 python tests/kills.py --kills 1000 [--seed 0] [--keep FOLDER]

Runs over a folder are killed, whose inputs change from time to time, and training runs. The signal is SIGKILL, SIGTERM
or SIGINT. Loading torch would take most of the time, so that most runs are forked from a process that has loaded it;
every twentieth is a process of its own, killed while it starts, too. Exit code: 1 if anything differed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PICTURES = 10
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENDED = {signal.SIGKILL: {-9}, signal.SIGTERM: {143, -15, 0}, signal.SIGINT: {130, -2, 0, 1}}
"""Exit codes after a signal. Training saves, stops and ends with 0; before anything is set up, Python itself ends."""
RECIPE = """
seed = 5
[model.overrides]
embed_dim = 8
d_state = 2
depths = [1]
num_heads = [2]
num_tokens = 4
inner_rank = 3
window_size = 8
[data]
patch = 8
[train]
iterations = 40
total_batch = 2
lr = 1e-3
[keep]
log_every = 1
checkpoint_every = 3
validate_every = 0
"""


def make(place: Path) -> None:
    """Make two versions of the inputs, weights and a recipe."""
    from small_weights import save_tiny
    from stand_in import picture

    for version in range(2):
        (place / f"version{version}").mkdir()
        for number in range(PICTURES):
            suffix = ("png", "jpg", "tif", "webp")[number % 4]
            name = str(place / f"version{version}" / f"{number}.{suffix}")
            picture(20 + number, 24 + 5 * version, 3).write_to_file(name)
    save_tiny(place / "tiny.safetensors")
    (place / "tiny.toml").write_text(RECIPE)


class Run:
    """A command in a process of its own, forked or started anew."""

    def __init__(self, arguments: list[str], place: Path, own: bool) -> None:
        self._said = place / "said.txt"
        (place / "tmp").mkdir(exist_ok=True)
        os.environ["TMPDIR"] = str(place / "tmp")
        if own:
            with open(self._said, "wb") as said:
                command = [sys.executable, "-m", "mambairv2.cli", *arguments]
                self._process: subprocess.Popen[bytes] | None = subprocess.Popen(command, stdout=said, stderr=said)
            self.id = self._process.pid
            return
        self._process = None
        self.id = os.fork()
        if self.id == 0:
            _be(arguments, self._said)

    def wait(self) -> int:
        """Return the exit code, negative for a signal."""
        if self._process is not None:
            return self._process.wait()
        return os.waitstatus_to_exitcode(os.waitpid(self.id, 0)[1])

    def said(self) -> str:
        """Return the end of what it printed."""
        return self._said.read_text("utf-8", "replace")[-600:] if self._said.exists() else ""


def _be(arguments: list[str], said: Path) -> None:
    """Be the command, in a forked process."""
    code: object = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tempfile.tempdir = None
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        from mambairv2.cli.main import app

        app(arguments)
    except SystemExit as ended:
        code = ended.code or 0
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
    os._exit(code if isinstance(code, int) else 1)


@dataclass
class Tally:
    """What happened so far."""

    kills: Counter[str] = field(default_factory=Counter)
    rounds: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Kills:
    """Rounds of runs that are killed."""

    def __init__(self, place: Path, chance: random.Random, keep: Path) -> None:
        self.place, self.chance, self.keep, self.tally, self._started = place, chance, keep, Tally(), 0
        self.version = 0
        self.seconds: dict[str, float] = {}

    def run(self, arguments: list[str]) -> tuple[int, str]:
        """Do a run undisturbed."""
        run = Run(arguments, self.place, own=False)
        return run.wait(), run.said()

    def killed(self, arguments: list[str], kind: str) -> bool:
        """Do a run and kill it at a random moment; return whether it was still at work."""
        self._started += 1
        own = self._started % 20 == 0
        run = Run(arguments, self.place, own)
        time.sleep(self.chance.uniform(0, self.seconds[kind] * (1.1 if not own else 2)))
        number = self.chance.choice(SIGNALS)
        alive = os.waitid(os.P_PID, run.id, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        if alive:
            os.kill(run.id, number)
        code = run.wait()
        if alive := alive and (number, code) != (signal.SIGKILL, 0):  # otherwise only its process had not quite ended
            self.tally.kills[f"{kind} {number.name}"] += 1
        if code not in (ENDED[number] if alive else {0}):
            self.fault(f"{kind}: exit code {code} after {number.name if alive else 'no signal'}: {run.said()!r}")
        return alive

    def fault(self, text: str) -> None:
        """Note what differed, and keep the folder as it is."""
        self.tally.faults.append(text)
        print(f"WRONG: {text}", flush=True)
        shutil.copytree(self.place, self.keep / f"fault{len(self.tally.faults)}", dirs_exist_ok=True)

    def temporary(self) -> list[str]:
        """Return the temporary files that are there."""
        return [str(path) for path in self.place.rglob(".mambairv2-*")] + os.listdir(self.place / "tmp")

    def folder_command(self, out: str) -> list[str]:
        """Return the command over the folder."""
        weights = str(self.place / "tiny.safetensors")
        return ["restore", str(self.place / "in"), "-o", str(self.place / out), "--weights", weights, "--device", "cpu"]

    def change_inputs(self) -> None:
        """Put the other version of the inputs in place, or of some of them."""
        self.version = 1 - self.version
        (self.place / "in").mkdir(exist_ok=True)
        for path in sorted((self.place / f"version{self.version}").iterdir()):
            if self.chance.random() < 0.7 or not (self.place / "in" / path.name).exists():
                shutil.copy(path, self.place / "in" / path.name)

    def reference(self) -> None:
        """Make the outputs of both versions, undisturbed."""
        self.outputs: dict[bytes, bytes] = {}
        for _ in range(2):
            self.change_inputs()
            for path in (self.place / f"version{self.version}").iterdir():
                shutil.copy(path, self.place / "in" / path.name)
            start = time.monotonic()
            code, said = self.run(self.folder_command("reference"))
            self.seconds["folder"] = time.monotonic() - start
            assert code == 0, said
            for path in (self.place / "in").iterdir():
                self.outputs[path.read_bytes()] = (self.place / "reference" / path.name).read_bytes()
        start = time.monotonic()
        code, said = self.run(self.training_command("reference"))
        self.seconds["training"] = time.monotonic() - start
        assert code == 0, said

    def folder_round(self, kills: int) -> None:
        """Change the inputs, or begin anew; kill several times; go on to the end and compare."""
        if self.chance.random() < 0.3:
            shutil.rmtree(self.place / "out", ignore_errors=True)
        self.change_inputs()
        known = set(self.outputs.values())
        for _ in range(kills):
            alive = self.killed(self.folder_command("out"), "folder")
            for path in (self.place / "out").glob("[0-9]*"):
                if path.read_bytes() not in known:
                    self.fault(f"folder: {path.name} is no whole output")
            if not alive:
                break
        code, said = self.run(self.folder_command("out"))
        expected = {path.name: self.outputs[path.read_bytes()] for path in (self.place / "in").iterdir()}
        found = {path.name: path.read_bytes() for path in (self.place / "out").glob("[0-9]*")}
        if code != 0 or found != expected:
            different = [name for name in expected if found.get(name) != expected[name]]
            self.fault(f"folder: exit code {code}, different: {different}: {said!r}")
        if left := self.temporary():
            self.fault(f"folder: temporary files are left: {left}")
        done: dict[str, dict[str, object]] = {}
        for line in (self.place / "out" / "manifest.jsonl").read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # cut short by a kill
            if entry["status"] == "done":
                done[entry["output"]] = entry
        from mambairv2.files.storage import digest

        for name, content in expected.items():
            entry = done.get(name, {})
            if (entry.get("digest"), entry.get("bytes")) != (digest(str(self.place / "in" / name)), len(content)):
                self.fault(f"folder: the manifest does not agree about {name}: {entry}")
        self.tally.rounds["folder"] += 1

    # Training

    def training_command(self, runs: str) -> list[str]:
        """Return the command of a training run."""
        data = ["--data", str(self.place / "version0"), "--device", "cpu"]
        return ["train", str(self.place / "tiny.toml"), "--runs", str(self.place / runs), *data]

    def training_round(self, kills: int) -> None:
        """Begin anew, kill several times, go on to the end and compare."""
        shutil.rmtree(self.place / "runs", ignore_errors=True)
        for _ in range(kills):
            if not self.killed(self.training_command("runs"), "training"):
                break
        code, said = self.run(self.training_command("runs"))
        found, expected = (self._trained(self.place / runs / "tiny") for runs in ("runs", "reference"))
        if code != 0 or found != expected:
            self.fault(f"training: exit code {code}, {[k for k in expected if found.get(k) != expected[k]]}: {said!r}")
        if left := self.temporary():
            self.fault(f"training: temporary files are left: {left}")
        self.tally.rounds["training"] += 1

    @staticmethod
    def _trained(run: Path) -> dict[str, object]:
        """Return what a run left: the bytes of its weights, and its log without what depends on the clock."""
        found: dict[str, object] = {path.name: path.read_bytes() for path in run.glob("*.safetensors")}
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        found["log"] = [(line["iteration"], line.get("loss"), line.get("lr")) for line in log]
        return found


def main() -> None:
    """Kill until the number is reached, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("kills"), help="where folders of faults go")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", VIPS_CONCURRENCY="1")
    if options.make:
        return make(options.make)
    options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        # In a process of its own: libvips starts threads, which a fork does not carry over.
        subprocess.run([sys.executable, __file__, "--make", name], check=True)
        import mambairv2.batch.local_engine
        import mambairv2.training.loop  # noqa: F401 (so that forked processes need not load torch)

        kills = Kills(Path(name), random.Random(options.seed), options.keep)
        kills.reference()
        start = time.monotonic()
        rounds: list[Callable[[int], None]] = [kills.folder_round, kills.folder_round, kills.training_round]
        while (count := kills.tally.kills.total()) < options.kills:
            kills.chance.choice(rounds)(min(options.kills - count, kills.chance.randrange(1, 9)))
            tally, minutes = kills.tally, (time.monotonic() - start) / 60
            done = f"{tally.kills.total()} kills in {tally.rounds.total()} rounds"
            print(f"{minutes:.1f} min: {done}, {len(tally.faults)} differences", flush=True)
    print(json.dumps({"kills": dict(kills.tally.kills), "rounds": dict(kills.tally.rounds)}))
    print("\n".join(kills.tally.faults) or "no difference")
    sys.exit(bool(kills.tally.faults))


if __name__ == "__main__":
    main()
