"""The operations of the network: one public function each, over several backends."""


def backends() -> dict[str, str | None]:
    """Return the backends of the scan and of window attention by name: None if it is here, else why not."""
    from mambairv2.ops import cpu

    return {"reference": None, "chunked": None, "cpu": cpu.unavailable(), "sdpa": None}
