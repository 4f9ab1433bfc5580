"""ONNX files: written, described, and compared with PyTorch before they are left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch

from mambairv2.export.network import INPUT, OUTPUT, graph_of
from mambairv2.files.atomic import write_whole
from mambairv2.files.names import shown
from mambairv2.installation import install_extra
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.load import load_model
from mambairv2.weights.read_config import read_metadata

if TYPE_CHECKING:
    import onnx

Precision = Literal["float32", "float16"]
SIZES = ((1, 1, 1), (1, 19, 45), (2, 37, 18))
"""Batch, height and width of the images on which a file is compared with PyTorch."""
PICTURES = 3
"""Images of each size, of whose differences the middle one counts. Where two prompts are almost equally likely,
rounding decides, and processors round differently; a file that is wrong differs on every image."""
TOLERANCE: dict[Precision, float] = {"float32": 2e-4, "float16": 2e-2}
"""Largest difference from PyTorch in float32 for images in [0, 1]: of any value in float32, and the root of the mean
square in float16, where the choice of a prompt may differ."""


def to_onnx(
    weights: str | Path | MambaIRv2, path: str | Path, *, precision: Precision = "float32", name: str | None = None
) -> float:
    """Write a network as an ONNX file, whole or not at all.

    weights: a packaged name (`sr-x2`), a file, or a network. precision: float16 halves the file and computes in
    float16 where the runtime can, but for the scan; images stay float32. name: what the file says the weights are, by
    default their name.

    The file takes `image` (batch, C, height, width) float32 in [0, 1], of any size from 1×1, and gives `restored`
    (batch, C, height·scale, width·scale), not clipped. Its metadata are in docs/onnx.md. Before it is written, it is
    run by ONNX Runtime on three images of each odd size and compared with PyTorch. Returns the largest of the
    middle differences (float16: of the root of the mean square). Raises WeightsError for weights that cannot be used,
    ValueError where a package is missing or the result differs, OSError where the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise ValueError(f"{path}: the name of an ONNX file ends in .onnx")
    _check_packages()
    model = weights if isinstance(weights, MambaIRv2) else load_model(weights)
    described = {} if isinstance(weights, MambaIRv2) else read_metadata(weights)
    title = shown(name or ("network" if isinstance(weights, MambaIRv2) else Path(weights).name))  # UTF-8 in the file
    proto = graph_of(model, half=precision == "float16")
    _describe(proto, model, precision, title, described)
    content = proto.SerializeToString()
    worst = _compare(content, model, precision, path)
    write_whole(path, content)
    return worst


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(f"export needs the package {error.name}; {install_extra('onnx')}") from None


def _describe(
    proto: onnx.ModelProto, model: MambaIRv2, precision: Precision, title: str, described: dict[str, str]
) -> None:
    """Write into the file what it is and how it is used."""
    from importlib.metadata import version

    from onnx import helper

    config = model.config
    proto.producer_version = version("mambairv2")
    colours = "grey" if config.in_channels == 1 else "RGB"
    proto.doc_string = (
        f"MambaIRv2 ({title}). {INPUT}: (batch, {config.in_channels}, height, width) float32, {colours} in [0, 1], any "
        f"size from 1x1. {OUTPUT}: (batch, {config.in_channels}, height x {config.upscale}, width x {config.upscale}) "
        "float32, not clipped."
    )
    facts = {
        "name": title,
        "scale": str(config.upscale),
        "channels": str(config.in_channels),
        "colours": colours,
        "range": "[0, 1]",
        "input": INPUT,
        "output": OUTPUT,
        "precision": precision,
        "window_size": str(config.window_size),
        "config": json.dumps(config.to_dict()),
        "weights": json.dumps({key: text for key, text in described.items() if key not in ("config", "format")}),
    }
    helper.set_model_props(proto, facts)


def _compare(content: bytes, model: MambaIRv2, precision: Precision, path: Path) -> float:
    """Return the largest difference from PyTorch over the sizes; raises ValueError where it is too large."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    model, worst = model.eval(), 0.0
    like = next(model.parameters())
    for batch, height, width in SIZES:
        distances = []
        for seed in range(PICTURES):
            image = _image(batch, model.config.in_channels, height, width, seed)
            with torch.inference_mode():
                expected = model(torch.from_numpy(image).to(like)).float().cpu().numpy()
            found = session.run([OUTPUT], {INPUT: image})[0]
            if found.shape != expected.shape:
                raise ValueError(f"{path}: not written, since it gives {found.shape} for {image.shape}")
            difference = np.abs(found - expected)
            distances.append(np.sqrt(np.mean(difference**2)) if precision == "float16" else np.max(difference))
        distance = float(np.median(distances))
        if not distance <= TOLERANCE[precision]:
            raise ValueError(
                f"{path}: not written, since at {width}x{height} its result differs from PyTorch by {distance:.1e} in "
                f"{precision}" + ("; use float32" if precision == "float16" else "; please report it")
            )
        worst = max(worst, distance)
    return worst


def _image(batch: int, channels: int, height: int, width: int, seed: int) -> npt.NDArray[np.float32]:
    """Return a smooth picture with some grain in [0, 1]."""
    c, y, x = np.ogrid[: batch * channels, :height, :width]
    wave = np.sin(x / 9 + c) * np.cos(y / 7 - c)
    grain = np.random.default_rng(seed).normal(0, 0.02, (batch * channels, height, width))
    return np.clip(0.5 + 0.4 * wave + grain, 0, 1).astype(np.float32).reshape(batch, channels, height, width)
