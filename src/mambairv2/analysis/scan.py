"""The scan: how alike its four directions are, how far it remembers, and what semantic neighbouring changes.

Shape legend: H W height and width in whole windows, L = H·W tokens, E embed_dim, D hidden channels, N d_state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mambairv2.analysis.recording import ScanTensors, route_logits, scan_input, scan_tensors, visit_scans
from mambairv2.network.attentive_scan import AttentiveStateSpaceModule
from mambairv2.network.model import MambaIRv2

Floats = npt.NDArray[np.float64]
PAIRS = 20_000
"""Pairs of pixels that are drawn for the memory by distance in the image."""
EDGES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Bounds of the distances in the image, in pixels."""


@dataclass(frozen=True)
class LayerScan:
    """What the scan of one layer does on one image; arrays of two are in image order, then in the order of prompts."""

    layer: str
    """Group and block, such as `0.3`."""
    similarity: Floats
    """(4, 4), mean cosine similarity of the outputs of the four directions, token by token, with the skip D · u."""
    similarity_of_states: Floats
    """The same without the skip, which is equal in all directions."""
    memory: Floats
    """(2, N, distances), mean product of the decays Ā over so many steps: what is left of a token's state."""
    memory_between: Floats
    """(2, 2, len(EDGES) - 1), what is left between two pixels by their distance in the image, mean over states and
    channels: first for all pairs, then for pairs that take the same prompt. NaN without such pairs."""
    jump: Floats
    """(2,), mean distance in the image between neighbours of the sequence, in pixels."""
    alikeness: Floats
    """(3,), mean cosine similarity of the inputs of neighbours of the sequence, and of tokens drawn at random."""


def steps_apart(tokens: int) -> npt.NDArray[np.int64]:
    """Return the distances in steps at which the memory is measured: powers of two below the number of tokens."""
    return 2 ** np.arange(int(np.log2(tokens - 1)) + 1)


def study_scans(model: MambaIRv2, image: Tensor, seed: int = 0, drawn: bool = False) -> list[LayerScan]:
    """Study each layer's scan on one image (C, h, w), whose sides should be multiples of the window.

    A network with four directions is compared with its own; of another the one scan is run in four directions without
    prompts. Padding counts as image. drawn: order tokens by drawn prompts, as in training, not by the likeliest.
    """
    found: list[LayerScan] = []

    def visit(name: str, module: AttentiveStateSpaceModule, x: Tensor) -> None:
        found.append(_study(name, module, x, np.random.default_rng(seed), drawn))

    visit_scans(model, image, visit)
    return found


def _study(
    name: str, module: AttentiveStateSpaceModule, x: Tensor, random: np.random.Generator, drawn: bool
) -> LayerScan:
    _, height, width, _ = x.shape
    u = scan_input(module, x)[0].flatten(0, 1)
    similarity, without_skip = _directions(module, u, height, width)
    tensors = scan_tensors(module, u)
    raster = np.arange(height * width)
    labels, order = np.zeros_like(raster), raster
    if module.has_prompts:
        logits = route_logits(module, x).flatten(0, 1).double().cpu().numpy()
        labels = (logits + random.gumbel(size=logits.shape) if drawn else logits).argmax(-1)
        order = np.argsort(labels, kind="stable")
    inputs = x[0].flatten(0, 1).double().cpu().numpy()
    return LayerScan(
        name,
        similarity,
        without_skip,
        np.stack([memory(tensors, raster), memory(tensors, order)]),
        memory_between(tensors, (raster, order), labels, width, random),
        np.array([jump(raster, width), jump(order, width)]),
        np.array([_alike(inputs[o]) for o in (raster, order, random.permutation(raster))]),
    )


def directions(height: int, width: int) -> npt.NDArray[np.int64]:
    """Return the orders of the four directions, (4, L): by row, by column, and both reversed."""
    rows = np.arange(height * width)
    columns = rows.reshape(height, width).T.ravel()
    return np.stack([rows, columns, rows[::-1], columns[::-1]])


def _directions(module: AttentiveStateSpaceModule, u: Tensor, height: int, width: int) -> tuple[Floats, Floats]:
    own = module.config.scan_directions == 4
    states, skips = [], []
    for direction, order in enumerate(directions(height, width)):
        tensors = scan_tensors(module, u, direction if own else 0)
        states.append(run(tensors, order))
        skips.append((tensors.D * tensors.u).double().cpu().numpy())
    return (
        similarities(np.stack([y + skip for y, skip in zip(states, skips, strict=True)])),
        similarities(np.stack(states)),
    )


def run(tensors: ScanTensors, order: npt.NDArray[np.int64]) -> Floats:
    """Scan in an order, h = exp(Δ A) h + Δ B u and y = C · h, without prompts and skip; y is (L, D) in image order."""
    u, delta, A, B, C = (t.double().cpu().numpy() for t in (tensors.u, tensors.delta, tensors.A, tensors.B, tensors.C))
    y, h = np.empty_like(u), np.zeros_like(A)
    decay, entry = np.empty_like(A), np.empty_like(A)
    steps = delta * u
    for i in order:
        np.multiply(A, delta[i, :, None], out=decay)
        np.exp(decay, out=decay)
        h *= decay
        np.multiply(steps[i, :, None], B[i], out=entry)
        h += entry
        y[i] = h @ C[i]
    return y


def similarities(y: Floats) -> Floats:
    """Return the mean cosine similarity of tokens between outputs: (K, L, D) → (K, K); tokens of zeros are left out."""
    lengths = np.linalg.norm(y, axis=-1)
    unit = y / np.maximum(lengths, 1e-300)[..., None]
    counted = (lengths > 0).all(axis=0)
    return np.asarray(np.einsum("ald,bld->abl", unit, unit)[..., counted].mean(axis=-1))


def memory(tensors: ScanTensors, order: npt.NDArray[np.int64]) -> Floats:
    """Return the mean product of decays by distance in steps, for each state: (N, distances); see `steps_apart`."""
    passed = _passed(tensors, order)
    A = tensors.A.double().cpu().numpy()
    distances = steps_apart(len(order))
    return np.stack([np.exp((passed[k:] - passed[:-k])[:, :, None] * A).mean(axis=(0, 1)) for k in distances], axis=1)


def memory_between(
    tensors: ScanTensors,
    orders: tuple[npt.NDArray[np.int64], ...],
    labels: npt.NDArray[np.int64],
    width: int,
    random: np.random.Generator,
) -> Floats:
    """Return what is left between two pixels by their distance in the image; see `LayerScan.memory_between`.

    Half of the pairs are drawn among pixels near each other, so that short distances have some.
    """
    count = len(labels)
    first = random.integers(count, size=PAIRS)
    row, column = first // width + random.integers(-8, 9, PAIRS), first % width + random.integers(-8, 9, PAIRS)
    near = np.clip(row, 0, count // width - 1) * width + np.clip(column, 0, width - 1)
    second = np.where(np.arange(PAIRS) % 2 == 0, near, random.integers(count, size=PAIRS))
    first, second = first[first != second], second[first != second]
    apart = np.hypot(first // width - second // width, first % width - second % width)
    bins, same = np.digitize(apart, EDGES) - 1, labels[first] == labels[second]
    A = tensors.A.double().cpu().numpy()
    found = np.full((len(orders), 2, len(EDGES) - 1), np.nan)
    for o, order in enumerate(orders):
        passed, place = _passed(tensors, order), np.argsort(order)
        between = np.abs(passed[place[first]] - passed[place[second]])
        left = np.concatenate([np.exp(part[:, :, None] * A).mean(axis=(1, 2)) for part in np.array_split(between, 64)])
        for among, chosen in enumerate((np.ones_like(same), same)):
            for b in range(len(EDGES) - 1):
                values = left[chosen & (bins == b)]
                if values.size:
                    found[o, among, b] = values.mean()
    return found


def _passed(tensors: ScanTensors, order: npt.NDArray[np.int64]) -> Floats:
    """Return the sum of the steps Δ up to and with each token of the sequence: (L, D)."""
    return np.cumsum(tensors.delta.double().cpu().numpy()[order], axis=0)


def jump(order: npt.NDArray[np.int64], width: int) -> float:
    """Return the mean distance in the image between neighbours of a sequence, in pixels."""
    return float(np.hypot(np.diff(order // width), np.diff(order % width)).mean())


def _alike(sequence: Floats) -> float:
    """Return the mean cosine similarity of neighbours."""
    unit = sequence / np.maximum(np.linalg.norm(sequence, axis=-1, keepdims=True), 1e-300)
    return float((unit[1:] * unit[:-1]).sum(-1).mean())


def half_life(left: Floats, distances: npt.NDArray[np.int64]) -> float:
    """Return the distance at which a memory has fallen to one half, between the measured ones on a logarithmic scale.

    Below the first distance it is 0 steps to there on a straight line from 1; infinity if it never falls so far.
    """
    below = np.flatnonzero(left <= 0.5)
    if not below.size:
        return float("inf")
    i = int(below[0])
    if i == 0:
        return float(distances[0] * 0.5 / (1 - left[0]))
    part = (left[i - 1] - 0.5) / (left[i - 1] - left[i])
    return float(distances[i - 1] * (distances[i] / distances[i - 1]) ** part)


def whole_windows(image: Tensor, model: MambaIRv2) -> Tensor:
    """Cut an image (C, h, w) to whole windows, from the top left; raises ValueError if it is smaller than one."""
    window = model.config.window_size
    height, width = (size // window * window for size in image.shape[1:])
    if not height or not width:
        raise ValueError(f"the image is {image.shape[2]}×{image.shape[1]}, smaller than a window of {window}×{window}")
    return image[:, :height, :width]
