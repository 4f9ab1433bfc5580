"""The paper's tables with our figures and the differences, as one Markdown document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mambairv2.evaluation.evaluate import Score, evaluate, mean
from mambairv2.evaluation.literature import ABLATION_SETS, ABLATIONS, COSTS, Figure, published
from mambairv2.evaluation.plan import Plan, find_set
from mambairv2.evaluation.protocol import Protocol
from mambairv2.evaluation.report import pair, table
from mambairv2.network.complexity import cost
from mambairv2.network.config import VARIANTS, MambaIRv2Config, Variant, variant
from mambairv2.network.model import MambaIRv2
from mambairv2.tasks import TASKS, TaskName

PAPER: dict[Variant, str] = {
    "light": "MambaIRv2-light",
    "small": "MambaIRv2-S",
    "base": "MambaIRv2-B",
    "large": "MambaIRv2-L",
}
GAP = "–"
"""What stands in a cell without a figure."""


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper: a protocol, and whether it is of networks under a million parameters."""

    title: str
    protocol: Protocol
    light: bool = False

    def figures(self) -> dict[str, dict[str, Figure]]:
        """Return what is published, by method and test set."""
        task, scale, level = self.protocol.task, self.protocol.scale, self.protocol.level
        methods: dict[str, dict[str, Figure]] = {}
        for name in TASKS[task].sets:
            found = published(task, scale, level, self.protocol.channels, self.light, name)
            for method, figure in found.items():
                methods.setdefault(method, {})[name] = figure
        return methods

    def takes(self, network: Network) -> bool:
        """Tell whether a network belongs in this table."""
        same = (network.task, network.config.upscale) == (self.protocol.task, self.protocol.scale)
        return same and (self.protocol.task != "sr" or self.light == (network.config.ffn == "gated"))


TABLES = (
    *(PaperTable(f"Light super-resolution ×{s}", Protocol("sr", s), light=True) for s in (2, 3, 4)),
    *(PaperTable(f"Classic super-resolution ×{s}", Protocol("sr", s)) for s in (2, 3, 4)),
    *(PaperTable(f"Colour denoising, σ {s}", Protocol("denoise", level=s)) for s in TASKS["denoise"].levels),
    *(PaperTable(f"Grey JPEG, quality {q}", Protocol("jpeg", level=q, channels=1)) for q in TASKS["jpeg"].levels),
)


@dataclass(frozen=True)
class Network:
    """Weights to be measured."""

    name: str
    task: TaskName
    model: MambaIRv2

    @property
    def config(self) -> MambaIRv2Config:
        """The network's configuration."""
        return self.model.config

    def reference(self) -> str:
        """Return the paper's network of this size, or the one nearest in kind."""
        for name, known in VARIANTS.items():
            if (known.embed_dim, known.depths, known.ffn) == (
                self.config.embed_dim,
                self.config.depths,
                self.config.ffn,
            ):
                return PAPER[name]
        return PAPER["light" if self.config.ffn == "gated" else "base"]


Means = dict[tuple[str, Protocol, str], Score]  # by name of the weights, protocol and test set


def available(data: Path, task: TaskName, wanted: Sequence[str] = ()) -> list[str]:
    """Return the task's test sets that are there, of those wanted (empty: all), in the paper's order."""
    return [name for name in TASKS[task].sets if (not wanted or name in wanted) and (data / name).is_dir()]


def measure_all(
    networks: Sequence[Network],
    data: Path,
    wanted: Sequence[str] = (),
    tile: int = 0,
    limit: int | None = None,
    seen: Callable[[str, Score], None] = lambda name, score: None,
) -> Means:
    """Measure each network on the test sets of its tables that are there; `seen` gets every image's score.

    Denoising is measured in colour and JPEG in grey, as in the paper; networks that no table takes are left
    out. Raises FileNotFoundError for a wanted set that is not there.
    """
    means: Means = {}
    for name in wanted:
        find_set(data, name)
    for network in networks:
        if not fits(network) or not (sets := available(data, network.task, wanted)):
            continue
        scale, grey = network.config.upscale, TASKS[network.task].channels == 1
        plan = Plan(data, network.task, scale, sets, grey=grey, tile=tile, limit=limit)
        for result in evaluate(network.model, plan, seen):
            means[network.name, result.protocol, result.name] = mean(result.scores)
    return means


def fits(network: Network) -> bool:
    """Tell whether some table takes a network: grey ones for JPEG alone."""
    colours = network.config.in_channels == 3 or TASKS[network.task].channels == 1
    return colours and any(paper.takes(network) for paper in TABLES)


def document(
    networks: Sequence[Network], means: Means, data: Path, notes: Sequence[str] = (), limit: int | None = None
) -> str:
    """Return all tables as Markdown, then what could not be measured.

    A difference is ours less the paper's, in dB and SSIM, positive where ours is better. limit: the means are of the
    first images of each set only, which published means cannot stand beside: these and the ablations are left out.
    """
    parts = [
        "# The paper's tables, beside our figures",
        "PSNR in dB / SSIM, by the field's protocols: super-resolution on luma with a border of the scale cut, "
        "denoising on RGB, JPEG on grey images. A difference is ours less the paper's. The published mean of "
        "Set14 treats its grey image as RGB, which adds 0.09 dB to it; the other published figures are as "
        f"printed. {GAP}: not published or not measured.",
        *([f"**Only the first {limit} images of each set: no published figures stand beside them.**"] if limit else []),
        *notes,
    ]
    if networks:
        rows = [["weights", "task", "scale", "parameters"]]
        for network in networks:
            count = sum(p.numel() for p in network.model.parameters())
            rows.append([network.name, network.task, f"×{network.config.upscale}", f"{count:,}"])
        parts.append(table(rows))
    parts += [f"## {paper.title}\n\n{_filled(paper, networks, means, limit)}" for paper in TABLES]
    parts.append(f"## Complexity\n\n{_complexity()}")
    if not limit:
        parts.append(f"## Ablations, light ×2\n\n{_ablations(networks, means)}")
    parts.append("## Not measured\n\n" + "\n".join(_missing(networks, means, data)))
    return "\n\n".join(parts) + "\n"


def _filled(paper: PaperTable, networks: Sequence[Network], means: Means, limit: int | None = None) -> str:
    names = TASKS[paper.protocol.task].sets
    figures = {} if limit else paper.figures()
    rows = [["method", *names]]
    rows += [[method, *(_figure(row.get(name)) for name in names)] for method, row in figures.items()]
    own = [n for n in networks if any((n.name, paper.protocol, name) in means for name in names)]
    for number, network in enumerate(own):
        scores = {name: means.get((network.name, paper.protocol, name)) for name in names}
        if number == 0:  # the same for all networks
            base = [(s.base_psnr, s.base_ssim) if s else None for s in scores.values()]
            rows.append([f"{TASKS[paper.protocol.task].baseline}, measured", *map(_figure, base)])
        rows.append([f"ours: {network.name}", *_measured(scores)])
        reference = network.reference() if network.reference() in figures else PAPER["base"]
        if reference in figures:
            theirs = figures[reference]
            rows.append([f"less {reference}", *(_difference(s, theirs.get(n)) for n, s in scores.items())])
    return table(rows) if len(rows) > 1 else "No figures."


def _complexity() -> str:
    """Parameters and multiply-accumulates at an output of 1280×720, with the share by which ours differ."""
    rows = [["scale", "method", "parameters", "ours", "difference", "MACs", "ours", "difference", "by their rules"]]
    variants = {paper: name for name, paper in PAPER.items()}
    for scale, methods in COSTS.items():
        for method, (thousands, giga) in methods.items():
            row = [f"×{scale}", method, f"{thousands:,} K", GAP, GAP, f"{giga} G" if giga else GAP, GAP, GAP, GAP]
            if method in variants:
                ours = cost(variant(variants[method], upscale=scale), -(-720 // scale), -(-1280 // scale))
                row[3:5] = f"{ours.parameters:,}", f"{ours.parameters / thousands / 10 - 100:+.1f} %"
                row[6] = f"{ours.macs / 1e9:.1f} G"
                row[7] = f"{ours.macs / giga / 1e7 - 100:+.1f} %" if giga else GAP
                row[8] = f"{ours.published / 1e9:.1f} G"
            rows.append(row)
    return (
        "For an output of 1280×720. Two operations are one multiply-accumulate (MAC): of convolutions and matrix "
        "products, and 9 for each state and step of the scan, in an image padded to whole windows. By their rules: the "
        "scan's 9 operations are 9 MACs, and layer norms and the choice of prompts count too; these are the published "
        f"figures.\n\n{table(rows)}"
    )


def _ablations(networks: Sequence[Network], means: Means) -> str:
    """The paper's ablations, with what each costs and our figures for weights of exactly that network."""
    rows = [["network", "parameters", "MACs", *ABLATION_SETS]]
    for name, (changes, figures) in ABLATIONS.items():
        config = replace(VARIANTS["light"], **changes)  # type: ignore[arg-type]
        ours = cost(config, 360, 640)
        rows.append([name, f"{ours.parameters:,}", f"{ours.macs / 1e9:.1f} G", *map(_figure, figures)])
        for network in networks:
            scores = {s: means.get((network.name, Protocol("sr", 2), s)) for s in ABLATION_SETS}
            if network.config == config and any(scores.values()):
                rows.append([f"ours: {network.name}", GAP, GAP, *_measured(scores)])
                rows.append(["less the paper's", GAP, GAP, *map(_difference, scores.values(), figures)])
    return f"The published PSNR is after 250,000 iterations; parameters and MACs are ours.\n\n{table(rows)}"


def _measured(scores: dict[str, Score | None]) -> list[str]:
    return [_figure((score.psnr, score.ssim) if score else None) for score in scores.values()]


def _figure(figure: Figure | None) -> str:
    return GAP if figure is None else pair(*figure)


def _difference(score: Score | None, figure: Figure | None) -> str:
    if score is None or figure is None:
        return GAP
    psnr, ssim = figure
    text = f"{score.psnr - psnr:+.2f}"
    return text if ssim is None else f"{text} / {score.ssim - ssim:+.4f}"


def _missing(networks: Sequence[Network], means: Means, data: Path) -> list[str]:
    """Return one line for each table, test set or network without figures of ours."""
    lines = [f"- {n.name}: no table takes a {n.task} network of this kind" for n in networks if not fits(n)]
    for paper in TABLES:
        task = paper.protocol.task
        measured = {name for _, protocol, name in means if protocol == paper.protocol}
        own = [n for n in networks if fits(n) and paper.takes(n)]
        absent = [name for name in TASKS[task].sets if name not in available(data, task)]
        skipped = [name for name in TASKS[task].sets if name not in measured and name not in absent]
        if not own:
            lines.append(f"- {paper.title}: no weights")
        elif absent:
            lines.append(f"- {paper.title}: no test images of {', '.join(absent)} in {data}")
        if own and skipped:
            lines.append(f"- {paper.title}: {', '.join(skipped)} not asked for")
    if absent := [name for name in ABLATION_SETS if not (data / name).is_dir()]:
        lines.append(f"- Ablations, light ×2: no test images of {', '.join(absent)} in {data}")
    return lines or ["Nothing is missing."]
