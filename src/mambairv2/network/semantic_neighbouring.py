"""Semantic guided neighbouring (SGN): tokens of the same prompt become neighbours in the scan.

Shape legend: B batch, L tokens, N width of a prompt.
"""

from __future__ import annotations

from torch import Tensor

from mambairv2.network.config import MambaIRv2Config
from mambairv2.ops.backend_choice import DenseBackend
from mambairv2.ops.routing.prompts import neighbour_order
from mambairv2.ops.scan.selective_scan import invert, take


def scan_order(label: Tensor, config: MambaIRv2Config, backend: DenseBackend = "auto") -> Tensor | None:
    """Return the order in which the scan visits the tokens (SGN-unfold); None for the order of the image.

    label: (B, L) int64. Returns (B, L) int64: the tokens sorted by label, ties in image order. The scan itself brings
    its results back to the order of the image (SGN-fold).
    """
    return neighbour_order(label, config.num_tokens, backend=backend) if config.semantic_neighbouring else None


def prompt_of_token(P: Tensor, order: Tensor | None, config: MambaIRv2Config) -> Tensor:
    """Return the prompt that each token meets in the scan, (B, L, N) in the order of the image, as P.

    As the equations read (`prompt_order="sorted"`) it is the token's own. As published (`"image"`) the prompts are not
    sorted with the tokens: step i of the scan meets the prompt of token i of the image.
    """
    return P if order is None or config.prompt_order == "sorted" else take(P, invert(order))
