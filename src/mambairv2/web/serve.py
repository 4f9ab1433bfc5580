"""The server of the page: where it listens, who may come in, and where temporary files lie."""

from __future__ import annotations

import hmac
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from mambairv2.files.atomic import scratch
from mambairv2.installation import install_extra
from mambairv2.web.service import Limits, Service


def serve(
    host: str = "127.0.0.1",
    port: int | None = None,
    *,
    device: str = "auto",
    password: str | None = None,
    limits: Limits = Limits(),
    started: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the page until it is interrupted; temporary files are removed then.

    host: the address to listen on; others than this machine reach the page only where it is not a loopback address.
    port: by default the first free one from 7860. password: asked for, with any user name. started: called with the
    address of the page. Nothing is sent anywhere: Gradio's own messages are turned off. Raises ValueError where Gradio
    is not installed, OSError where the port is taken.
    """
    with scratch() as folder:
        uploads, work = folder / "gradio", folder / "work"
        work.mkdir()
        # Gradio reads these when it is imported.
        os.environ.update(GRADIO_TEMP_DIR=str(uploads), GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
        try:
            import gradio
        except ModuleNotFoundError:
            raise ValueError(f"the page needs Gradio; {install_extra('web')}") from None
        from mambairv2.web.page import build

        page = build(Service(work, device, limits), _example(folder))
        fonts = ["system-ui", "sans-serif"]
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            auth=None if password is None else lambda _user, given: _same(given, password),
            max_file_size=limits.megabytes * 2**20,
            theme=gradio.themes.Soft(font=fonts, font_mono=["ui-monospace", "monospace"]),
            footer_links=["api"],
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            show_error=True,
        )
        started(address)
        try:
            threading.Event().wait()
        finally:
            page.close(verbose=False)


def _same(given: str, password: str) -> bool:
    """Compare in a time that tells nothing about the password."""
    return hmac.compare_digest(given.encode(), password.encode())


def _example(folder: Path) -> Path | None:
    """Return a copy of the example photograph that a clone has; an installed package has none."""
    source = Path(__file__).resolve().parents[3] / "examples" / "coffee.png"
    return Path(shutil.copy(source, folder / "coffee.png")) if source.exists() else None
