"""Results of an evaluation as JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict

from mambairv2.evaluation.evaluate import Result, Score, mean
from mambairv2.evaluation.valid_json import valid_json


def to_json(results: list[Result], about: dict[str, object]) -> str:
    """Return everything: what was measured, means and images, with published figures.

    null stands for an infinite PSNR, that of equal images.
    """
    entries = [
        {
            "set": result.name,
            "protocol": str(result.protocol),
            "mean": asdict(mean(result.scores)),
            "published": result.published,
            "images": [asdict(score) for score in result.scores],
        }
        for result in results
    ]
    return valid_json({**about, "results": entries}, indent=1) + "\n"


def to_csv(results: list[Result]) -> str:
    """Return a line an image, and one for each mean."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["set", "protocol", *Score.__dataclass_fields__])
    for result in results:
        for score in (*result.scores, mean(result.scores)):
            writer.writerow([result.name, result.protocol, *asdict(score).values()])
    return text.getvalue()


def to_markdown(results: list[Result], title: str, images: bool = True) -> str:
    """Return a table of sets for each protocol, with published figures, and one of images for each set."""
    parts = [f"# {title}"]
    for protocol in dict.fromkeys(result.protocol for result in results):
        chosen = [result for result in results if result.protocol == protocol]
        parts.append(f"## {protocol}\n\n{_sets(chosen, protocol.baseline)}")
        if images:
            parts += [f"### {r.name}, {protocol}\n\n{_images(r, protocol.baseline)}" for r in chosen]
    return "\n\n".join(parts) + "\n"


def _sets(results: list[Result], base: str) -> str:
    methods = list(dict.fromkeys(method for result in results for method in result.published))
    restored = any(result.restored for result in results)
    rows = [["set", "images", *_heads(base, restored), *methods]]
    for result in results:
        others = [pair(*result.published[m]) if m in result.published else "" for m in methods]
        figures = _figures(mean(result.scores), restored)
        rows.append([result.name, str(len(result.scores)), *figures, *others])
    return table(rows)


def _images(result: Result, base: str) -> str:
    rows = [["image", *_heads(base, result.restored), "seconds"]]
    rows += [[s.image, *_figures(s, result.restored), f"{s.seconds:.1f}"] for s in result.scores]
    return table(rows)


def _heads(base: str, restored: bool) -> list[str]:
    return ["ours", base, "gain"] if restored else [base]


def _figures(score: Score, restored: bool) -> list[str]:
    """Return the cells below `_heads`."""
    below = pair(score.base_psnr, score.base_ssim)
    return [pair(score.psnr, score.ssim), below, f"{score.psnr - score.base_psnr:+.2f}"] if restored else [below]


def pair(psnr: float, ssim: float | None) -> str:
    """Return `PSNR / SSIM`, or the PSNR alone."""
    return f"{psnr:.2f}" if ssim is None else f"{psnr:.2f} / {ssim:.4f}"


def table(rows: list[list[str]]) -> str:
    """Return rows of equal length as a Markdown table, the first as its head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )
