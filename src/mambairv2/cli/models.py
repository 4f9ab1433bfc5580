"""The command `models`."""

from __future__ import annotations

import typer

from mambairv2.cli.exits import FAILED, complain


def models() -> None:
    """List the packaged weights: task, scale, parameters, size, and PSNR / SSIM on test sets beside the input's.

    Below stand the names of weights that others published; one of these is downloaded when it is given as --weights.

    Exit codes: 0. 1, if a card is damaged.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from mambairv2.cli.streams import say
    from mambairv2.tasks import TASKS
    from mambairv2.weights.hub.published import FILES, PUBLISHED
    from mambairv2.weights.model_card import read_card
    from mambairv2.weights.packaged import pretrained

    heads = ("name", "task", "scale", "parameters", "size", "test set", "protocol", "result", "input", "gain")
    table = Table(*heads, box=box.SIMPLE_HEAD)
    for name, path in pretrained().items():
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        if not path.with_suffix(".json").exists():
            table.add_row(name, "(no card)", "", "", size)
            continue
        try:
            card = read_card(path.with_suffix(".json"))
        except (ValueError, OSError) as error:
            complain(str(error))
            raise typer.Exit(FAILED) from None
        about = (name, TASKS[card.task].summary, f"×{card.scale}", f"{card.parameters:,}", size)
        for row, f in enumerate(card.sets):
            pairs = f"{f.psnr:.2f} / {f.ssim:.4f}", f"{f.base_psnr:.2f} / {f.base_ssim:.4f}"
            first = about if row == 0 else ("",) * len(about)
            table.add_row(*first, f.set, f.protocol, *pairs, f"{f.psnr - f.base_psnr:+.2f}")
        if not card.sets:
            table.add_row(*about)
    console = Console()
    # A pipe gets whole lines; a terminal gets what fits.
    (console if console.is_terminal else Console(width=160)).print(table if table.rows else "none packaged")
    say(f"--weights {PUBLISHED}NAME downloads what the authors of the paper published: {', '.join(FILES)}")
