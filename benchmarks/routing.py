"""Routing: the likeliest prompt against drawn ones, and prompts in image order against sorted; a Markdown document.

    python benchmarks/routing.py [--weights sr-x2] [--set Set5] [--seeds 8] [--limit N] [-o docs/routing.md]

Without -o it is printed. Test sets are those of --data, or of data/test here or below $MAMBAIRV2_DATA.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mambairv2.evaluation.evaluate import Restore, Score, evaluate_set, mean, whole_images
from mambairv2.evaluation.protocol import Protocol
from mambairv2.evaluation.report import table
from mambairv2.files.atomic import write_whole
from mambairv2.images.folders import find_data
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.channels import restore_channels
from mambairv2.tasks import TASKS
from mambairv2.weights.load import load_model
from mambairv2.weights.read_config import read_metadata

ORDERS = {"image": "prompts in image order (as published)", "sorted": "prompts sorted with their tokens"}


def reordered(model: MambaIRv2, order: str) -> MambaIRv2:
    """The same weights with prompts in another order."""
    other = MambaIRv2(replace(model.config, prompt_order=order))
    other.load_state_dict(model.state_dict())
    return other.eval()


def drawn(model: MambaIRv2, seed: int) -> Restore:
    """The network with its prompts drawn; a seed gives each image the same draws in any set."""

    @torch.inference_mode()
    def restore(image: Tensor) -> Tensor:
        def network(batch: Tensor) -> Tensor:
            return model(batch, generator=torch.Generator().manual_seed(seed))

        return restore_channels(network, model.config.in_channels, model.config.upscale, image[None])[0]

    return restore


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def compare(model: MambaIRv2, measured: Callable[[Restore], Score], seeds: int) -> str:
    """The table: a line for each order and routing."""
    rows = [["order", "routing", "PSNR [dB]", "SSIM", "against the first line [dB]"]]
    reference = None
    for order, words in ORDERS.items():
        network = reordered(model, order)
        likeliest = measured(whole_images(network))
        reference = reference if reference is not None else likeliest.psnr
        difference = f"{likeliest.psnr - reference:+.4f}"
        rows.append([words, "likeliest prompt", f"{likeliest.psnr:.4f}", f"{likeliest.ssim:.5f}", difference])
        scores = [measured(drawn(network, seed)) for seed in range(seeds)]
        psnrs, ssims = [s.psnr for s in scores], [s.ssim for s in scores]
        differences = [psnr - reference for psnr in psnrs]
        between = f"{min(differences):+.4f} to {max(differences):+.4f}"
        rows.append([words, f"drawn, {seeds} seeds", spread(psnrs, 4), spread(ssims, 5), between])
    return table(rows)


def main() -> None:
    """Compare, then print or write the document; an error ends in a line and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="sr-x2")
    parser.add_argument("--data", type=Path, help="folder of test sets; by default data/test, see docs/training.md")
    parser.add_argument("--set", default="Set5")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--output", "-o", type=Path)
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("a spread needs 2 seeds or more")
    try:
        model, task = load_model(options.weights), read_metadata(options.weights).get("task", "sr")
        channels = model.config.in_channels
        protocol = Protocol(task, model.config.upscale, (TASKS[task].levels or (0,))[0], channels)

        folder = (options.data or find_data("data/test")) / options.set

        def measured(restore: Restore) -> Score:
            scores = evaluate_set(restore, folder, protocol, options.limit)
            print(f"{mean(scores).psnr:.4f} dB", file=sys.stderr, flush=True)
            return mean(scores)

        found = compare(model, measured, options.seeds)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    given = [f"--weights {options.weights}", f"--set {options.set}", f"--seeds {options.seeds}"]
    given += [f"--limit {options.limit}"] if options.limit else []
    trained = "in image order" if model.config.prompt_order == "image" else "sorted"
    text = f"""# Routing: the likeliest prompt or a drawn one?

Each token takes one prompt of a pool. In evaluation mambairv2 takes the likeliest, so that every
run gives the same image. The published code draws one by Gumbel noise in evaluation too. mambairv2
does so if it is given a `torch.Generator`.

Tokens are sorted by their prompt. In the published code the prompts themselves stay in image order
(`prompt_order="image"`). The paper's equations read as if both were sorted
(`prompt_order="sorted"`).

The table has the same weights ({options.weights}), trained with prompts {trained}, in each of
the four ways: {protocol} on {options.set}, torch {torch.__version__.split("+")[0]}, on a CPU.
Values are the mean of the set, ± the standard deviation over seeds.
The last column has the least and the largest difference to the first line.

{found}

```sh
python benchmarks/routing.py {" ".join(given)}
```
"""
    if options.output:
        write_whole(options.output, text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
