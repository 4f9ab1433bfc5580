"""The operations of the network: one public function each, over several backends."""

from mambairv2.ops.drop_in import selective_scan_fn

__all__ = ["backends", "selective_scan_fn"]


def backends() -> dict[str, str | None]:
    """Return the backends of the scan and of window attention by name: None if it is here, else why not."""
    from mambairv2.ops import cpu, gpu

    compiled = {"cpu": cpu.unavailable(), "triton": gpu.unavailable()}
    return {"reference": None, "chunked": None, "sdpa": None, **compiled}
