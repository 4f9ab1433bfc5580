"""The command `analyze routing`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mambairv2.cli.analyze.output import Folder, Image, Side, Weights, save
from mambairv2.cli.exits import telling
from mambairv2.cli.measuring.shared import Device, Limit, Sets, check_outputs, choose_weights, names
from mambairv2.cli.streams import say

if TYPE_CHECKING:
    from mambairv2.analysis.sampling import Sampled
    from mambairv2.cli.measuring.shared import ChosenWeights
    from mambairv2.evaluation.plan import Plan
    from mambairv2.network.model import MambaIRv2

COMPARISON = "Drawn against likeliest prompts"


def routing(
    image: Annotated[Path, Image],
    weights: Annotated[str, Weights] = "sr-x4",
    side: Annotated[int, Side] = 256,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of test sets; measures drawn against likeliest prompts.", rich_help_panel=COMPARISON),
    ] = None,
    sets: Annotated[str, Sets] = "",
    seeds: Annotated[int, typer.Option(min=2, help="How often prompts are drawn.", rich_help_panel=COMPARISON)] = 8,
    limit: Annotated[int | None, Limit] = None,
    output: Annotated[Path, Folder] = Path("analysis"),
    device: Annotated[str, Device] = "auto",
) -> None:
    """Show which prompt each pixel takes in each layer, how many are used, and how stable the choice is.

    Stability is the share of pixels that keep their prompt under noise of σ 1/255, a shift by a pixel, and mirroring.
    With --data it measures PSNR with the likeliest prompt against drawn ones, and with prompts in image order against
    prompts sorted with their tokens.

    Exit code: 0, written; 1, a mistake, told in one line; 2, an option that does not exist or is out of range.
    """
    with telling():
        chosen = choose_weights(weights)
        if data is None and (sets or limit is not None):
            raise ValueError("--sets and --limit are for --data, which measures on test sets")
        if data is not None:
            _plan(chosen, data, sets, limit).folders()  # test sets that are missing are told before torch is loaded

        from dataclasses import asdict

        import numpy as np

        from mambairv2.analysis.plots.routing import draw
        from mambairv2.analysis.recording import read_image, with_prompts
        from mambairv2.analysis.routing import route, stability

        pixels = read_image(image, chosen.config.in_channels, side)
        model = with_prompts(chosen.load(device))
        check_outputs([output / "routing.json"])
        layers, stable = route(model, pixels), stability(model, pixels)
        entries = []
        for number, layer in enumerate(layers):
            kept = {name: shares[number] for name, shares in stable.items()}
            entries.append({**{k: v for k, v in asdict(layer).items() if k != "labels"}, "kept": kept})
            telling_kept = ", ".join(f"{name} {100 * share:.0f} %" for name, share in kept.items())
            say(
                f"layer {layer.layer}: {layer.used} of {chosen.config.num_tokens} prompts, "
                f"{layer.entropy:.2f} bits, a draw takes the likeliest in {100 * layer.certainty:.1f} % and tells "
                f"{layer.information:.2f} bits; kept under {telling_kept}"
            )
        figures: dict[str, object] = {"weights": weights, "image": image.name, "layers": entries}
        if data is not None:
            figures["psnr"] = _measure(model, chosen, data, sets, limit, seeds)
        save(
            output,
            "routing",
            figures,
            {"labels": np.stack([layer.labels for layer in layers]), "image": pixels.numpy()},
            lambda: draw(pixels.numpy(), layers, stable, chosen.config.num_tokens),
        )


def _plan(chosen: ChosenWeights, data: Path, sets: str, limit: int | None) -> Plan:
    from mambairv2.evaluation.plan import Plan

    grey = chosen.config.in_channels == 1
    return Plan(data, chosen.task, chosen.config.upscale, names(sets), grey=grey, limit=limit)


def _measure(
    model: MambaIRv2, chosen: ChosenWeights, data: Path, sets: str, limit: int | None, seeds: int
) -> list[dict[str, object]]:
    """Return and print the PSNR of each set, order of prompts, and way of choosing them."""
    from mambairv2.analysis.sampling import Restore, compare
    from mambairv2.evaluation.evaluate import evaluate_set, mean

    plan = _plan(chosen, data, sets, limit)
    protocol, found = plan.protocols()[0], []
    for folder in plan.folders():

        def psnr(restore: Restore, folder: Path = folder) -> float:
            return mean(evaluate_set(restore, folder, protocol, limit)).psnr

        compared = compare(model, psnr, seeds)
        for one in compared:
            difference = one.mean - compared[0].mean
            say(f"{folder.name}, {_words(one)}: {one.mean:.4f} ± {one.spread:.4f} dB, {difference:+.4f}")
            found.append(
                {
                    "set": folder.name,
                    "protocol": str(protocol),
                    "prompt_order": one.order,
                    "drawn with seeds": one.seeds,
                    "psnr": list(one.values),
                    "mean": one.mean,
                    "spread": one.spread,
                    "against the likeliest in image order": difference,
                }
            )
    return found


def _words(one: Sampled) -> str:
    order = "prompts in image order" if one.order == "image" else "prompts sorted with their tokens"
    return f"{order}, {f'drawn with {one.seeds} seeds' if one.seeds else 'likeliest'}"
