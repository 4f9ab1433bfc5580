"""The operations of the network: one public function each, over several backends."""

from mambairv2.ops.drop_in import selective_scan_fn

__all__ = ["backends", "selective_scan_fn"]


def backends() -> dict[str, str | None]:
    """Return the backends of the scan and of window attention by name: None if it is here, else why not."""
    import torch

    from mambairv2.ops import cpu, gpu

    triton = gpu.unavailable()
    if triton is None and not gpu.INTERPRETED and not torch.cuda.is_available():
        triton = "torch finds no GPU"
    return {"reference": None, "chunked": None, "sdpa": None, "cpu": cpu.unavailable(), "triton": triton}
