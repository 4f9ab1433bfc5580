"""JSON that every reader takes: the format has no infinity, which is the PSNR of two equal images, and no NaN."""

from __future__ import annotations

import json
import math


def valid_json(content: object, indent: int | None = None) -> str:
    """Return content as JSON, with null for every number that is not finite."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content: object) -> object:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
