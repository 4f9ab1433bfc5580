"""What a weights file says of its network, before the network is made."""

from __future__ import annotations

from pathlib import Path

from mambairv2.network.config import MambaIRv2Config
from mambairv2.weights.header import first_bytes, is_safetensors, read_header
from mambairv2.weights.infer_config import Shapes, config_of
from mambairv2.weights.onnx_header import is_onnx, read_onnx_config
from mambairv2.weights.packaged import find_weights
from mambairv2.weights.published_names import strip, to_ours


def read_config(path_or_name: str | Path) -> MambaIRv2Config:
    """Return the configuration of the network that a file holds; raises WeightsError as `load_model`.

    Of a safetensors file only the header is read, without torch. A .pth has no header: torch reads it whole.
    """
    path = find_weights(path_or_name)
    if is_onnx(path):
        return read_onnx_config(path)
    if is_safetensors(path, first_bytes(path)):
        stored, metadata = read_header(path)
        return config_of(to_ours(strip(stored, path)), metadata, path)
    from mambairv2.weights.read_tensors import load_state

    shapes: Shapes = {name: tuple(tensor.shape) for name, tensor in load_state(path).items()}
    return config_of(shapes, {}, path)


def read_metadata(path_or_name: str | Path) -> dict[str, str]:
    """Return what a safetensors file says of itself; empty for other files. Raises WeightsError."""
    path = find_weights(path_or_name)
    return read_header(path)[1] if is_safetensors(path, first_bytes(path)) else {}
