"""Light networks ×2 by every runtime that people use on a CPU: ours and SwinIR, each at its best.

    python benchmarks/runtimes.py [--size 128] [--rounds 9] [--json FILE]

Run it with nothing else running. Every way has a process of its own, which waits while the others run. They run in
alternation; medians are reported, of seconds by the clock and of seconds of all processors, once under the default
memory policy of glibc and once with freed memory kept.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

Run = Callable[[], object]
OURS, THEIRS = "mambairv2-light", "SwinIR-light"
WAYS = {
    f"{OURS}, float32": (OURS, "torch", "float32"),
    f"{OURS}, bfloat16": (OURS, "torch", "bfloat16"),
    f"{OURS}, ONNX Runtime": (OURS, "onnxruntime", "float32"),
    f"{OURS}, OpenVINO float32": (OURS, "openvino", "f32"),
    f"{OURS}, OpenVINO bfloat16": (OURS, "openvino", "bf16"),
    f"{THEIRS}, torch": (THEIRS, "torch", "float32"),
    f"{THEIRS}, ONNX Runtime": (THEIRS, "onnxruntime", "float32"),
    f"{THEIRS}, OpenVINO float32": (THEIRS, "openvino", "f32"),
    f"{THEIRS}, OpenVINO bfloat16": (THEIRS, "openvino", "bf16"),
}


def network(name: str):
    """Return an untrained network."""
    import torch

    from mambairv2.weights.load import MambaIRv2
    from peers import peers

    torch.manual_seed(0)
    return MambaIRv2.from_config("light", upscale=2).eval() if name == OURS else peers()[THEIRS]


def export(name: str, size: int, path: Path) -> None:
    """Write a network as an ONNX file: ours for any size, SwinIR for this one."""
    import torch

    if name == OURS:
        from mambairv2.export import to_onnx

        to_onnx(network(name), path)
        return
    image = torch.rand(1, 3, size, size)
    torch.onnx.export(network(name), (image,), str(path), input_names=["image"], dynamo=False, opset_version=17)


def in_torch(name: str, precision: str, size: int) -> Run:
    import torch

    model, image = network(name), torch.rand(1, 3, size, size)
    if precision == "bfloat16":
        model.set_products("bfloat16")

    def run() -> object:
        with torch.inference_mode():
            return model(image)

    return run


def in_onnxruntime(path: Path, threads: int, size: int) -> Run:
    """SwinIR is faster with threads that spin during a run, ours without, as `restore` has it."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    ours = path.stem == OURS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if ours else "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")  # between runs nothing spins
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    return lambda: session.run(None, {"image": image})


def in_openvino(path: Path, precision: str, threads: int, size: int) -> Run:
    import numpy as np
    import openvino

    core, image = openvino.Core(), np.random.default_rng(0).random((1, 3, size, size), np.float32)
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeError("the processor has no bfloat16; OpenVINO would imitate it, 9 to 21 times as slow as float32")
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(core.read_model(str(path)), "CPU", settings).create_infer_request()
    return lambda: request.infer({"image": image})


def serve(options: argparse.Namespace) -> None:
    """Run one way as often as a line comes, and answer with the seconds."""
    if options.keep_freed:
        from mambairv2.restoration.memory import keep_freed_memory

        keep_freed_memory()
    import torch

    torch.set_num_threads(options.threads)
    name, runtime, precision = WAYS[options.way]
    path = options.folder / f"{name}.onnx"
    try:
        if runtime == "torch":
            run = in_torch(name, precision, options.size)
        elif runtime == "onnxruntime":
            run = in_onnxruntime(path, options.threads, options.size)
        else:
            run = in_openvino(path, precision, options.threads, options.size)
        run()
    except RuntimeError as error:
        raise SystemExit(f"not measured: {options.way}: {error}") from error
    print("ready", flush=True)
    for _ in sys.stdin:
        start, processors = time.perf_counter(), time.process_time()
        run()
        print(time.perf_counter() - start, time.process_time() - processors, flush=True)


def measure(options: argparse.Namespace, keep_freed: bool) -> dict[str, tuple[float, float]]:
    """Return the median seconds of each way, by the clock and of processors.

    A way that cannot run says why on stderr, and is left out.
    """
    policy = ["--keep-freed"] if keep_freed else []
    same = ["--folder", options.folder, "--size", str(options.size), "--threads", str(options.threads), *policy]
    started = {}
    for way in WAYS:
        command = [sys.executable, __file__, "--way", way, *map(str, same)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if process.stdout.readline().strip() == "ready":
            started[way] = process
    times: dict[str, list[list[float]]] = {way: [] for way in started}
    for _ in range(options.rounds):
        for way, process in started.items():
            process.stdin.write("\n")
            process.stdin.flush()
            times[way].append([float(word) for word in process.stdout.readline().split()])
    for process in started.values():
        process.communicate()
    return {way: tuple(map(statistics.median, zip(*runs, strict=True))) for way, runs in times.items()}


def main() -> None:
    """Export both networks, measure, print the table."""
    import os

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--policies", nargs="+", choices=("default", "kept"), default=("default", "kept"))
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--keep-freed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        serve(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        for name in (OURS, THEIRS):
            export(name, options.size, options.folder / f"{name}.onnx")
        found = {policy: measure(options, policy == "kept") for policy in options.policies}
    print(f"{'seconds by the clock, of processors':36} " + "".join(f"{policy:>16}" for policy in found))
    for way in WAYS:
        cells = (found[policy].get(way, (float("nan"),) * 2) for policy in found)
        print(f"{way:36} " + "".join(f"{clock:8.3f} {processors:7.3f}" for clock, processors in cells))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
