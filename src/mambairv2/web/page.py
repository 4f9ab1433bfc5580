"""The page, made with Gradio.

Gradio reads the types of the functions, so they are no texts here.
"""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from mambairv2.images.formats import READABLE
from mambairv2.web.choices import choices
from mambairv2.web.previews import previews
from mambairv2.web.service import Cancelled, Made, Service

HOUR = 3600
Pair = tuple[str, str] | None


def build(service: Service, example: Path | None) -> gr.Blocks:
    """Return the page. Gradio must have been told before it was imported where temporary files go (`serve`)."""
    cancelled: dict[str, threading.Event] = {}

    def restore(
        files: Sequence[str] | None,
        task: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),
    ) -> Iterator[tuple[Any, ...]]:
        """Restore photographs: files and the name of a choice to restored files, a line on each, and previews."""
        wanted = [Path(file) for file in files or ()]
        stop = cancelled[request.session_hash or ""] = threading.Event()
        done: list[Made] = []

        def shown(tiles: int, total: int, name: str) -> None:
            if stop.is_set():
                raise Cancelled
            progress((len(done) * total + tiles, len(wanted) * total), desc=f"{name}: tile {tiles} of {total}")

        with service.request() as folder:
            pairs: list[tuple[str, Pair]] = []
            last = ""
            try:
                for made in service.restore(wanted, task, folder, shown):
                    done.append(made)
                    if made.outcome.error is None:
                        pairs.append((made.target.name, previews(made.source, made.target, made.source.parent)))
                    yield _shown(done, pairs, "")
            except Cancelled:
                last = "cancelled"
            except (ValueError, MemoryError, OSError) as error:
                last = f"error: {error}"
            finally:
                cancelled.pop(request.session_hash or "", None)
            yield _shown(done, pairs, last)

    def cancel(request: gr.Request) -> None:
        """Stop after the tile that is being restored."""
        if event := cancelled.get(request.session_hash or ""):
            event.set()

    def show(name: str, pairs: dict[str, Any]) -> Any:  # noqa: ANN401 — a component, or an update of one
        """Show a photograph and its restoration."""
        return pairs.get(name)

    # delete_cache: seconds between two looks, and the age from which files are removed.
    with gr.Blocks(title="mambairv2", analytics_enabled=False, delete_cache=(600, HOUR)) as page:
        gr.Markdown("# mambairv2\nRestore photographs on this machine. Files keep their format, profile and metadata.")
        with gr.Row():
            with gr.Column(scale=1):
                files = gr.File(label="Photographs", file_count="multiple", file_types=list(READABLE), elem_id="files")
                named = [(choice.words, name) for name, choice in choices().items()]
                task = gr.Radio(named, value=named[0][1], label="What to do", elem_id="task")
                with gr.Row():
                    start = gr.Button("Restore", variant="primary", elem_id="start")
                    end = gr.Button("Cancel", elem_id="cancel")
                if example is not None:
                    take = gr.Button("Take the example", size="sm", elem_id="example")
                    take.click(lambda: [str(example)], outputs=files, api_visibility="private")
                limits = service.limits
                gr.Markdown(
                    f"Up to {limits.files} files at once, each of at most {limits.megabytes} MB and "
                    f"{limits.pixels / 1e6:g} megapixels. Files are removed after an hour."
                )
            with gr.Column(scale=2):
                status = gr.Textbox(label="What became of them", lines=3, elem_id="status", interactive=False)
                results = gr.File(label="Restored", file_count="multiple", interactive=False, elem_id="results")
                which = gr.Dropdown([], label="Compare", visible=False, elem_id="which")
                slider = gr.ImageSlider(
                    label="Before and after; the wheel zooms", type="filepath", interactive=False, elem_id="slider"
                )
                pairs = gr.State({})
        start.click(
            restore,
            [files, task],
            [results, status, slider, which, pairs],
            api_name="restore",
            concurrency_limit=1,
            concurrency_id="restore",
        )
        end.click(cancel, queue=False, api_name="cancel", show_progress="hidden")
        which.input(show, [which, pairs], slider, api_visibility="private", show_progress="hidden")
        page.unload(cancel)
    page.queue(max_size=service.limits.waiting)
    return page


def _shown(done: Sequence[Made], pairs: Sequence[tuple[str, Pair]], last: str) -> tuple[Any, ...]:
    """Return the values of the components: restored files, lines, the newest pair, names to choose from, all pairs."""
    good = [made for made in done if made.outcome.error is None]
    lines = [made.line for made in done] + ([last] if last else [])
    names = [name for name, _ in pairs]
    newest = next((name for name, pair in reversed(pairs) if pair), None)
    choice = gr.Dropdown(choices=names, value=newest, visible=len(names) > 1)
    return (
        [str(made.target) for made in good] or None,
        "\n".join(lines),
        dict(pairs)[newest] if newest else None,
        choice,
        {name: pair for name, pair in pairs if pair},
    )
