"""The command `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mambairv2.cli.exits import FAILED, complain, telling
from mambairv2.cli.streams import say


def check(
    report: Annotated[
        Path | None, typer.Option("--json", help="Write all figures to this file; an existing one is replaced.")
    ] = None,
) -> None:
    """Check that every backend of this machine computes the right numbers.

    Each operation that has several implementations runs on small inputs: plain PyTorch, the compiled CPU kernels for
    each instruction set of the processor, and on a GPU PyTorch and the Triton kernels. Results and all gradients are
    compared with the step-by-step reference in float64. "ms" is the time of one call, for orientation only.

    On a GPU the verdict is kept: restoring and training take the Triton kernels only if they were right.

    Exit code: 0, all agree, or a backend is not there; 1, a backend is wrong, or the file cannot be written.
    """
    with telling():
        from rich.console import Console

        from mambairv2.cli.check import machine, view
        from mambairv2.cli.measuring.shared import check_outputs
        from mambairv2.files.atomic import write_whole

        check_outputs([report] if report else [])
        results, notes = [], []
        with Console(stderr=True).status("") as status:
            for job in machine.jobs():
                status.update(f"checking {', '.join(job.backends)} ({job.where})")
                found = machine.run(job)
                results += found
                notes += [note for note in [machine.keep_verdicts(job, found)] if note]
        missing = machine.missing()
        view.print_table(results)
        for note in notes:
            say(note)
        for name, why in missing.items():
            say(f"not checked: {name}, {why}")
        if report:
            write_whole(report, view.as_json(results, missing))
        faults = view.faults(results)
    for fault in faults:
        complain(fault)
    if faults:
        raise typer.Exit(FAILED)
    say(f"{len(results)} comparisons, all agree")
