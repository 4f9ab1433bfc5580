"""Networks for other programs: ONNX files.

`to_onnx` is imported when it is first used, since it needs torch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mambairv2.export.onnx_file import to_onnx

__all__ = ["to_onnx"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import `to_onnx` from its module."""
        if name not in __all__:
            raise AttributeError(f"module 'mambairv2.export' has no attribute {name!r}")
        from mambairv2.export.onnx_file import to_onnx

        return to_onnx
