"""The network of a restorer: from weights of any kind, among them ONNX files, which ONNX Runtime runs."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import torch
from torch import Tensor, nn

from mambairv2.installation import install_extra
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.device import make_threads, pick_device
from mambairv2.restoration.precision import Precision, set_precision
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.load import load_model
from mambairv2.weights.onnx_header import is_onnx, read_onnx_config
from mambairv2.weights.packaged import find_weights


def make_network(
    weights: str | Path | MambaIRv2, device: str | torch.device, dtype: Precision | None
) -> tuple[MambaIRv2, torch.device]:
    """Return the network of weights in evaluation mode, and the device that it is on now; arguments as `Restorer`.

    A network that is given is moved. Raises WeightsError for weights that cannot be used, and ValueError for a device
    that is not there, for another dtype, and for ONNX on another device than the CPU or in another precision.
    """
    if dtype not in (None, *get_args(Precision)):
        raise ValueError(f"dtype is one of {', '.join(get_args(Precision))}, got {dtype!r}")
    onnx = _onnx_file(weights)
    if onnx is not None and dtype not in (None, "float32"):
        raise ValueError(f"{onnx}: an ONNX file has the precision it was exported in, not {dtype}")
    chosen = pick_device("cpu" if onnx is not None and str(device) == "auto" else device)
    if onnx is not None and chosen.type != "cpu":
        raise ValueError(f"{onnx}: an ONNX file runs on the CPU here; use --device cpu, or the weights themselves")
    if chosen.type == "cpu":
        make_threads()
    if not isinstance(weights, str | Path):
        network = weights
    elif onnx is None:
        network = load_model(weights, device=chosen)
    else:
        network = cast(MambaIRv2, OnnxNetwork(onnx))  # it stands in wherever a network is run
    network.to(chosen).eval()
    if dtype is not None:
        set_precision(network, chosen, dtype)
    return network, chosen


def _onnx_file(weights: object) -> Path | None:
    """Return the ONNX file of weights; None where they are of another kind."""
    if isinstance(weights, OnnxNetwork):
        return weights.path
    return find_weights(weights) if isinstance(weights, str | Path) and is_onnx(weights) else None


class OnnxNetwork(nn.Module):
    """Runs a file that `mambairv2 export` wrote, on the CPU: (B, C, h, w) float32 to (B, C, h·s, w·s) float32.

    Raises WeightsError for a file that is missing, damaged or not ours, and where ONNX Runtime is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.config = read_onnx_config(path)
        self.path = Path(path)
        self.like = nn.Parameter(torch.empty(0), requires_grad=False)
        """Tells the dtype and the device of images, as parameters do."""
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise WeightsError(f"{path}: needs ONNX Runtime; {install_extra('onnx')}") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # errors are raised
        # Threads that spin while they wait starve other processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            content = self.path.read_bytes()  # since it takes no name that is not text
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the classes of ONNX Runtime's errors have no names of their own
            reason = str(error).splitlines()[0][:160]
            raise WeightsError(f"{path}: ONNX Runtime cannot load it ({reason}); export it again") from None

    def forward(self, image: Tensor) -> Tensor:
        """Restore a batch. Raises RuntimeError where memory runs out."""
        given = image.detach().to("cpu", torch.float32).numpy()
        try:
            (restored,) = self._session.run(["restored"], {"image": given})
        except Exception as error:
            raise RuntimeError(f"ONNX Runtime: {str(error).splitlines()[0]}") from None
        return torch.from_numpy(restored)

    def __reduce__(self) -> tuple[type[OnnxNetwork], tuple[Path]]:
        """Pickle as the file's name."""
        return OnnxNetwork, (self.path,)
