"""The command `web`."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import typer

from mambairv2.cli.exits import stoppable, telling
from mambairv2.cli.restore.options import Device
from mambairv2.cli.streams import say


def web(
    host: Annotated[str, typer.Option(help="Address to listen on. 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port. Default: the first free one from 7860.")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            envvar="MAMBAIRV2_PASSWORD",
            help="Ask for this password, with any user name. The variable keeps it out of the list of processes.",
        ),
    ] = None,
    device: Annotated[str, Device] = "auto",
    max_megabytes: Annotated[int, typer.Option(min=1, help="Refuse larger uploads.")] = 64,
    max_pixels: Annotated[int, typer.Option(min=1, help="Refuse larger photographs.")] = 25_000_000,
    max_files: Annotated[int, typer.Option(min=1, help="Refuse more files at once.")] = 20,
) -> None:
    """Serve a page that restores photographs, until Ctrl-C.

    It listens on this machine only, unless told otherwise. One job runs at a time, others wait.

    Exit codes: 130: interrupted (Ctrl-C). 1: the port is taken, or Gradio is not installed.
    """
    with stoppable(), telling():
        from mambairv2.restoration.memory import keep_freed_memory
        from mambairv2.web.serve import serve
        from mambairv2.web.service import Limits

        keep_freed_memory()
        if password is None and not _only_here(host):
            say(f"note: everybody who reaches {host} can use the page; --password asks for one")
        limits = Limits(max_megabytes, max_pixels, max_files)
        serve(
            host,
            port,
            device=device,
            password=password,
            limits=limits,
            started=lambda address: say(f"{address} (Ctrl-C ends it)"),
        )


def _only_here(host: str) -> bool:
    """Return whether an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
