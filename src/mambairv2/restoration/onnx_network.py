"""A network from an ONNX file, run by ONNX Runtime, in the place of one in PyTorch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mambairv2.installation import install_extra
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.onnx_header import read_onnx_config


class OnnxNetwork(nn.Module):
    """Runs a file that `mambairv2 export` wrote, on the CPU: (B, C, h, w) float32 to (B, C, h·s, w·s) float32.

    Raises WeightsError for a file that is missing, damaged or not ours, and where ONNX Runtime is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.config = read_onnx_config(path)
        self._path = Path(path)
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
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
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
        return OnnxNetwork, (self._path,)
