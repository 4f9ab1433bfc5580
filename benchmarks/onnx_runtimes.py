"""Time of an ONNX file in ONNX Runtime and OpenVINO beside the native kernels, in alternation: docs/onnx.md.

python benchmarks/onnx_runtimes.py sr-x2 --size 128 --rounds 7
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import torch

from mambairv2 import load_model
from mambairv2.export import to_onnx
from mambairv2.restoration.networks import OnnxNetwork

Way = Callable[[torch.Tensor], object]


def in_openvino(path: Path) -> Way:
    core = ov.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    request = core.compile_model(core.read_model(str(path)), "CPU", settings).create_infer_request()
    return lambda image: request.infer({"image": image.numpy()})


def measure(ways: dict[str, Way], image: torch.Tensor, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return seconds by the clock and seconds of the processors, by way, of rounds in which each way runs once."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way(image)
            if number:  # the first run prepares memory
                found[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="?", default="sr-x2")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / "net.onnx"
        to_onnx(options.weights, path)
        model = load_model(options.weights)
        ways: dict[str, Way] = {"native": model, "ONNX Runtime": OnnxNetwork(path), "OpenVINO": in_openvino(path)}
        image = torch.rand(1, model.config.in_channels, options.size, options.size)
        found = measure(ways, image, options.rounds)
    first = next(iter(found.values()))
    for name, times in found.items():
        wall, cpu = (statistics.median(t[i] for t in times) for i in range(2))
        ratios = [a[i] / b[i] for i in range(2) for a, b in zip(times, first, strict=True)]
        of_wall, of_cpu = np.median(ratios[: len(times)]), np.median(ratios[len(times) :])
        print(f"{name:14} {wall:.2f} s, processors {cpu:.2f} s; {of_wall:.2f} and {of_cpu:.2f} times the native")


if __name__ == "__main__":
    main()
