"""Whether the Triton kernels agree with the reference: `python -m mambairv2.ops.self_check DEVICE DTYPE`.

The last line of standard output is JSON: for each operation null, or what is wrong with it. An exit status other than
0 means that nothing can be said about the kernels.
"""

from __future__ import annotations

import json
import sys

import torch

from mambairv2.ops.self_check.cases import kernel_cases
from mambairv2.ops.self_check.comparison import check_all, verdict


def main(device: str, dtype: str) -> None:
    """Print the verdict."""
    torch.ones(1, device=device)  # fails here where the device cannot be opened
    found = verdict(check_all(kernel_cases(), "triton", device, torch.device(device), [getattr(torch, dtype)]))
    if found is None:
        sys.exit("the GPU has too little free memory")
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
