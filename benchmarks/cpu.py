"""Times on the CPU: our backends and other networks, side by side in one run; a table, and JSON with --json.

    python benchmarks/cpu.py [--json FILE] [--only NAME …] [--rounds 7]

Run it with nothing else running. Networks are timed in alternation and medians are reported; every section
runs in a process of its own, once under torch's default memory policy and once keeping freed memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

Runs = dict[str, Callable[[], object]]


def alternate(runs: Runs, rounds: int) -> dict[str, dict[str, float]]:
    """Time each call in turn, `rounds` times after one warm-up: seconds as median, minimum and maximum."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if i:
                times[name].append(time.perf_counter() - start)
    return {n: {"median": statistics.median(t), "min": min(t), "max": max(t)} for n, t in times.items()}


def once(runs: Runs) -> dict[str, dict[str, float]]:
    """Time slow calls once, without a warm-up."""
    result = {}
    for name, run in runs.items():
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        result[name] = {"median": seconds, "min": seconds, "max": seconds}
    return result


def model(name: str = "light", scan: str = "auto", attention: str = "auto"):
    """Return an untrained ×2 network with the given backends, in evaluation mode."""
    import torch

    from mambairv2 import MambaIRv2

    torch.manual_seed(0)
    dense = "auto" if scan == "auto" else "torch"
    return MambaIRv2.from_config(name, upscale=2).eval().set_backend(scan, attention, dense)


def forward(network, size: int) -> Callable[[], object]:
    """Return a call that restores one random image of size×size."""
    import torch

    image = torch.rand(1, 3, size, size)

    def run() -> object:
        with torch.inference_mode():
            return network(image)

    return run


def training_step(network, backend: tuple[str, str] = ("auto", "auto"), whole: bool = True) -> Callable[[], object]:
    """Return one step on 4 patches of 64×64, as the trainer makes it: forward, backward, Adam; or the forward alone."""
    import torch

    network.train().set_backend(*backend, "auto" if backend[0] == "auto" else "torch")
    source, target = torch.rand(4, 3, 64, 64), torch.rand(4, 3, 128, 128)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5, fused=True)
    generators = [torch.Generator().manual_seed(i) for i in range(4)]

    def step() -> object:
        if not whole:
            return network(source, generators)
        optimizer.zero_grad()
        (network(source, generators) - target).abs().mean().backward()
        return optimizer.step()

    return step


def sgemm() -> Callable[[], object]:
    """Return a product of two 2048×2048 matrices: what the machine can do, in alternation with what it does."""
    import torch

    a, b = torch.rand(2048, 2048), torch.rand(2048, 2048)
    return lambda: a @ b


def section_inference(rounds: int) -> dict[str, object]:
    """Light ×2 at 128×128 beside other networks, and its operations a second as a share of sgemm's."""
    from mambairv2.network.complexity import cost
    from peers import peers

    ours = model()
    runs = {"mambairv2-light": forward(ours, 128)}
    runs |= {name: forward(network, 128) for name, network in peers().items()} | {"sgemm 2048³": sgemm()}
    times = alternate(runs, rounds)
    operations, seconds = 2 * cost(ours.config, 128, 128).macs, times["mambairv2-light"]["median"]
    possible = 2 * 2048**3 / times["sgemm 2048³"]["median"]
    return {
        "seconds": times,
        "GFLOP": operations / 1e9,
        "sgemm GFLOP/s": possible / 1e9,
        "share of sgemm": operations / seconds / possible,
    }


def section_backends(rounds: int) -> dict[str, object]:
    """Light ×2 at 128×128 by backend."""
    backends = {"native": ("auto", "auto"), "torch only": ("chunked", "sdpa"), "reference": ("reference", "reference")}
    runs = {name: forward(model("light", *backend), 128) for name, backend in backends.items()}
    return {"seconds": alternate(runs, rounds)}


def section_growth(rounds: int) -> dict[str, object]:
    """Light ×2 from 64×64 to 512×512, and 1024×1024 in tiles: seconds, and growth of the peak memory."""
    import torch

    from mambairv2 import Restorer

    network = model()
    result: dict[str, object] = {"seconds": {}, "memory growth MiB": {}}
    for size in (64, 128, 256, 512):
        run = forward(network, size)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        timed = alternate({str(size): run}, max(1, rounds // (size // 64)))
        result["seconds"] |= timed  # type: ignore[operator]
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        result["memory growth MiB"][str(size)] = grown / 1024  # type: ignore[index]
    restorer = Restorer(network, tile=256)
    picture = torch.rand(3, 1024, 1024)
    result["seconds"] |= once({"1024 tiled": lambda: restorer.restore(picture)})  # type: ignore[operator]
    return result


def section_training(rounds: int) -> dict[str, object]:
    """A training step of light ×2 beside forward passes without and with gradients, and with the reference backend."""
    import torch

    network = model()
    batch = torch.rand(4, 3, 64, 64)

    def plain() -> object:
        with torch.inference_mode():
            return network.eval()(batch)

    runs = {"forward": plain, "forward of a step": training_step(model(), whole=False), "step": training_step(model())}
    seconds = alternate(runs, rounds)
    return {"seconds": seconds | once({"reference step": training_step(model(), ("reference", "reference"))})}


def section_base(rounds: int) -> dict[str, object]:
    """Base ×2 at 64×64, native and reference."""
    runs = {"native": forward(model("base"), 64), "reference": forward(model("base", "reference", "reference"), 64)}
    return {"seconds": alternate(runs, rounds)}


SECTIONS = {
    "inference": section_inference,
    "backends": section_backends,
    "growth": section_growth,
    "training": section_training,
    "base": section_base,
}


def in_process(section: str, rounds: int, keep_freed: bool) -> dict[str, object]:
    """Run one section in a fresh process, under one memory policy."""
    policy = ["--keep-freed"] if keep_freed else []
    command = [sys.executable, __file__, "--section", section, "--rounds", str(rounds), *policy]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    import torch

    from mambairv2.ops.library import loader

    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "kernels": loader.isa() if not isinstance(loader.load(), str) else loader.load(),
        "python": platform.python_version(),
    }


def show(name: str, result: dict[str, object]) -> None:
    """Print one section as a table."""
    print(f"\n{name}")
    for key, value in result.items():
        if key == "seconds":
            for run, t in value.items():  # type: ignore[attr-defined]
                print(f"  {run:<24} {t['median']:9.3f} s   ({t['min']:.3f} to {t['max']:.3f})")
        else:
            print(f"  {key}: {value if isinstance(value, dict) else round(value, 3)}")  # type: ignore[call-overload]


def main() -> None:
    """Run the sections asked for, print their tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--keep-freed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.keep_freed:
        from mambairv2.restoration.memory import keep_freed_memory

        keep_freed_memory()
    if options.section:
        print(json.dumps(SECTIONS[options.section](options.rounds)))
        return
    report: dict[str, object] = {"machine": machine()}
    print(json.dumps(report["machine"], indent=1))
    for section in options.only:
        for keep_freed in (False, True):
            name = f"{section}, {'freed memory kept' if keep_freed else 'default memory policy'}"
            report[name] = in_process(section, options.rounds, keep_freed)
            show(name, report[name])  # type: ignore[arg-type]
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
