"""The README.md of a folder or repository: the card of packaged weights, or what is known of other ones."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mambairv2.network.config import VARIANTS, MambaIRv2Config, variant
from mambairv2.network.model import MambaIRv2
from mambairv2.tasks import TASKS
from mambairv2.weights.hub.address import WEIGHTS
from mambairv2.weights.hub.fetch import LIBRARY
from mambairv2.weights.model_card import Card, read_card
from mambairv2.weights.packaged import pretrained
from mambairv2.weights.read_config import read_config
from mambairv2.weights.read_tensors import load_state

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

README = "README.md"
OWN_LICENSE = "apache-2.0"
"""Of the packaged weights."""
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)]+)\)")


def readme(
    network: MambaIRv2, task: str | None, repo: str | None = None, card: str | None = None, license: str | None = None
) -> str:
    """Return the card of a network in Markdown, with the metadata that the Hub reads at its head.

    Weights that equal packaged ones get the card of these: figures, training, data, limits. Others get what their
    tensors show. `card`, if it is given, takes the place of both: Markdown, to which is added what the network is, or a
    whole file with metadata of its own, which is taken as it is. task: a key of `TASKS`. repo: what the examples load,
    `owner/repo`. license: by default that of packaged weights, else none. Needs huggingface_hub.
    """
    if card and card.startswith("---"):
        return card
    from huggingface_hub import ModelCard, ModelCardData

    name = same_as_packaged(network)
    path = pretrained()[name] if name and not card else None
    figures = read_card(path.with_suffix(".json")) if path and path.with_suffix(".json").is_file() else None
    task = figures.task if figures else task
    data = ModelCardData(
        license=license or (OWN_LICENSE if name else None),
        library_name=LIBRARY,
        pipeline_tag="image-to-image",
        tags=_tags(network.config, task),
        metrics=["psnr", "ssim"] if figures else None,
        model_name=figures.name if figures else None,
        eval_results=_results(figures) if figures else None,
    )
    known = _packaged_text(path) if path and path.with_suffix(".md").is_file() else None
    text = known or _plain_text(network, task, repo, card, name)
    before, heading, after = text.partition("\n## ")
    body = f"{before.rstrip()}\n\n{_use(repo or 'OWNER/REPO', network.config)}{heading}{after.rstrip()}\n\n{_ABOUT}"
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}"))


def same_as_packaged(network: MambaIRv2) -> str | None:
    """Return the name of the packaged weights that a network has, tensor by tensor; None if it has others."""
    own = network.state_dict()
    for name, path in pretrained().items():
        if read_config(path) == network.config:
            theirs = load_state(path)
            if own.keys() == theirs.keys() and all(torch.equal(own[key].cpu(), theirs[key]) for key in own):
                return name
    return None


def _packaged_text(weights: Path) -> str:
    """Return a packaged card; links to files beside it become their names, since they are not in the repository."""
    text = weights.with_suffix(".md").read_text(encoding="utf-8")
    text = _LINK.sub(r"\1, `\2`", text).rstrip()
    return (
        f"{text}\n\n## Where this comes from\n\n{_whose(weights.stem)}\n"
        "Files that are named here, such as `docs/…`, `recipes/…` and other cards, are in its repository."
    )


def _whose(name: str) -> str:
    return f"These are the weights `{name}` of {LIBRARY} {version(LIBRARY)}, unchanged."


def _plain_text(network: MambaIRv2, task: str | None, repo: str | None, card: str | None, name: str | None) -> str:
    title = (repo or "MambaIRv2").rpartition("/")[2]
    scale = f" ×{network.config.upscale}" if network.config.upscale > 1 else ""
    summary = TASKS[task].summary if task in TASKS else "image restoration"
    count = sum(parameter.numel() for parameter in network.parameters())
    images = "grey" if network.config.in_channels == 1 else "RGB"
    what = (
        f"{summary[0].upper()}{summary[1:]}{scale} with {_kind(network.config)} ({count:,} parameters), "
        f"for {images} images."
    )
    if card:
        return f"{card.rstrip()}\n\n## Network\n\n{what}" + (f"\n{_whose(name)}" if name else "")
    return f"# {title}\n\n{what}\n\nIts author gave no account of training, data, figures, licence and limits."


def _kind(config: MambaIRv2Config) -> str:
    for name in VARIANTS:
        if variant(name, upscale=config.upscale, in_channels=config.in_channels) == config:
            return f"the {name} network of MambaIRv2"
    return "a MambaIRv2 network of its own configuration"


def _tags(config: MambaIRv2Config, task: str | None) -> list[str]:
    tags = ["image-restoration", "mamba", "mambairv2"]
    if config.upscale > 1:
        tags.append("super-resolution")
    return sorted({*tags, *([task] if task in TASKS else [])})


def _results(card: Card) -> list[EvalResult]:
    """Return the figures of a card in the form of the Hub: one result for each set, protocol and metric."""
    from huggingface_hub import EvalResult

    found = []
    for figures in card.sets:
        for metric, value in (("psnr", figures.psnr), ("ssim", figures.ssim)):
            result = EvalResult(
                task_type="image-to-image",
                dataset_type=figures.set,
                dataset_name=f"{figures.set} ({figures.protocol})",
                dataset_config=figures.protocol,
                metric_type=metric,
                metric_name=metric.upper(),
                metric_value=value,
            )
            found.append(result)
    return found


def _use(repo: str, config: MambaIRv2Config) -> str:
    """Return the section that says how the weights are run."""
    result = "large" if config.upscale > 1 else "clean"
    return f"""## Use

```sh
mambairv2 restore photo.png --weights {repo} -o {result}.png
```

```python
from mambairv2 import MambaIRv2, Restorer

Restorer("{repo}").restore_file("photo.png", "{result}.png")
network = MambaIRv2.from_pretrained("{repo}")  # (B, C, h, w) in [0, 1] to (B, C, {config.upscale}h, {config.upscale}w)
```
"""


_ABOUT = f"""## The architecture

*MambaIRv2: Attentive State Space Restoration*, Hang Guo and others, CVPR 2025
([arXiv:2411.15269](https://arxiv.org/abs/2411.15269)). `{WEIGHTS}` holds tensors under the names of the published
checkpoints and the configuration as metadata; `config.json` holds the configuration once more.
"""
