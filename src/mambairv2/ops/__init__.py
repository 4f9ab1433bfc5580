"""The operations of the network: one public function each, over several backends."""

from mambairv2.ops.scan.mamba_ssm import selective_scan_fn

__all__ = ["backends", "selective_scan_fn", "slow_note"]


def backends() -> dict[str, str | None]:
    """Return the backends of the scan and of window attention by name: None if it is here, else why not."""
    import torch

    from mambairv2.ops import triton_support
    from mambairv2.ops.library import loader

    triton = triton_support.unavailable()
    if triton is None and not triton_support.INTERPRETED and not torch.cuda.is_available():
        triton = "torch finds no GPU"
    return {"reference": None, "chunked": None, "sdpa": None, "native": loader.unavailable(), "triton": triton}


def slow_note(device: str) -> str | None:
    """Return a line to tell where a device ("cpu", "cuda", …) does without the kernels made for it, else None."""
    missing = backends().get({"cpu": "native", "cuda": "triton"}.get(device, ""))
    return None if missing is None else f"note: plain torch runs, several times slower: {missing}"
