"""Training patches that depend on nothing but the seed.

A patch is a pure function of seed, iteration and slot (its number in the total batch). Its place, flips, noise and JPEG
quality are the same for any number of workers, processes, accumulated steps or resumptions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mambairv2.images.arrays import Pixels
from mambairv2.images.degradation.chain import Margins
from mambairv2.training.data.augmentation import WAYS, augment, augmented_margins
from mambairv2.training.data.image_cache import CELL, Cache, Entry
from mambairv2.training.recipe import Recipe
from mambairv2.training.settings.data import DataPart

Key = tuple[int, int, int]
"""Iteration, slot in the total batch, side of the patch in input pixels."""
Batch = tuple[Tensor, Tensor]
"""Input and target."""


@dataclass(frozen=True)
class _Draw:
    """The distribution that places of one patch size are drawn from: its rows are images, or cells of them."""

    cumulative: npt.NDArray[np.float64]
    """Sum of the weights up to each row."""
    image: npt.NDArray[np.intp]
    """The image of each row."""
    first: npt.NDArray[np.intp]
    """The first row of each image."""


class Patches(Dataset[Batch]):
    """Pairs of input (C, p, p) and target (C, p·s, p·s), float32 in [0, 1], by the key (iteration, slot, p).

    Noisy inputs are not clipped. Images smaller than a patch are never drawn; ValueError if all of them are.
    """

    def __init__(self, cache: Cache, part: DataPart, seed: tuple[int, ...]) -> None:
        self.cache, self.part, self.seed = cache, part, seed
        self.chain = part.chain()
        self._draws: dict[int, _Draw] = {}

    def __getstate__(self) -> dict[str, object]:
        """Leave the memory maps out: each worker opens its own."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_target", "_input")}

    @cached_property
    def _target(self) -> Pixels:
        return self.cache.pixels("target")

    @cached_property
    def _input(self) -> Pixels:
        return self.cache.pixels("input")

    def _draw(self, patch: int) -> _Draw:
        if patch not in self._draws:
            self._draws[patch] = _draw_from(self.cache, self.part.sampling, patch)
        return self._draws[patch]

    def place(self, generator: np.random.Generator, patch: int) -> tuple[Entry, int, int]:
        """Draw an image and the top left corner of a patch, in input pixels."""
        draw = self._draw(patch)
        at = generator.random() * draw.cumulative[-1]
        row = int(np.searchsorted(draw.cumulative, at, side="right"))
        number = int(draw.image[row])
        entry = self.cache.entries[number]
        corner = []
        cell = divmod(row - int(draw.first[number]), entry.cells[1])
        for index, side in zip(cell, (entry.height, entry.width), strict=True):
            if self.part.sampling == "detail":  # the patch holds the cell's middle, anywhere inside itself
                middle = (index + 0.5) * CELL / self.cache.scale
                corner.append(int(np.clip(middle - generator.random() * patch, 0, side - patch)))
            else:
                corner.append(int(generator.integers(side - patch + 1)))
        return entry, corner[0], corner[1]

    def __getitem__(self, key: Key) -> Batch:
        """Cut, augment and damage one patch."""
        iteration, slot, patch = key
        generator = np.random.default_rng((*self.seed, iteration, slot))
        entry, top, left = self.place(generator, patch)
        way = int(generator.integers(WAYS))
        scale, channels = self.cache.scale, self.cache.channels
        clean = self.chain is None or (self.part.clean > 0 and generator.random() < self.part.clean)
        margins = (0, 0, 0, 0) if clean else self._margins(entry, top, left, patch)
        piece = _cut(
            self._target,
            entry.target,
            entry.width * scale,
            channels,
            (top - margins[0]) * scale,
            (left - margins[1]) * scale,
            ((margins[0] + patch + margins[2]) * scale, (margins[1] + patch + margins[3]) * scale),
        )
        colour = self._colour(generator, channels)
        piece = piece if colour is None else np.full_like(piece, colour)
        if clean:
            source = _cut(self._input, entry.input, entry.width, channels, top, left, (patch, patch))
            source = source if colour is None else np.full_like(source, colour)
            return _to_tensor(augment(source, way)), _to_tensor(augment(piece, way))
        piece, margins = augment(piece, way), augmented_margins(margins, way)
        assert self.chain is not None
        damaged = self.chain(piece, scale, generator, margins)
        inner = piece[margins[0] * scale :, margins[1] * scale :][: patch * scale, : patch * scale]
        return _to_tensor(damaged), _to_tensor(inner)

    def _colour(self, generator: np.random.Generator, channels: int) -> Pixels | None:
        """Draw the colour of a patch that has one only, (C,); None for other patches."""
        if self.part.flat == 0 or generator.random() >= self.part.flat:
            return None
        levels = [0, 255] if generator.random() < 0.5 else np.arange(256)
        return generator.choice(levels, channels).astype(np.uint8)

    def _margins(self, entry: Entry, top: int, left: int, patch: int) -> Margins:
        """Input pixels that are cut with a patch on each side, fewer at the border of the image."""
        assert self.chain is not None
        wanted = -(-self.chain.margin // self.cache.scale)
        bottom, right = entry.height - top - patch, entry.width - left - patch
        return min(wanted, top), min(wanted, left), min(wanted, bottom), min(wanted, right)


def _draw_from(cache: Cache, sampling: str, patch: int) -> _Draw:
    fits = np.array([min(entry.height, entry.width) >= patch for entry in cache.entries])
    if not fits.any():
        raise ValueError(f"none of the {len(fits)} images holds a patch of {patch * cache.scale} pixels")
    if sampling == "detail":
        cells = np.array([entry.cells[0] * entry.cells[1] for entry in cache.entries])
        image = np.repeat(np.arange(len(cells)), cells)
        energy = cache.detail().astype(np.float64)
        weight = energy + 0.1 * energy.mean() + 1e-6  # flat places are drawn too, seldom
        first = np.cumsum(cells) - cells
    else:
        image = first = np.arange(len(fits))
        area = [(e.height - patch + 1) * (e.width - patch + 1) for e in cache.entries]
        weight = np.array(area, np.float64) if sampling == "area" else np.ones(len(fits))
    return _Draw(np.cumsum(np.where(fits[image], weight, 0.0)), image, first)


def _cut(flat: Pixels, start: int, width: int, channels: int, top: int, left: int, size: tuple[int, int]) -> Pixels:
    rows = flat[start + top * width * channels : start + (top + size[0]) * width * channels]
    return rows.reshape(size[0], width, channels)[:, left : left + size[1]]


def _to_tensor(image: Pixels | npt.NDArray[np.float32]) -> Tensor:
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    return torch.from_numpy(planes).div(255) if planes.dtype == np.uint8 else torch.from_numpy(planes)


def share(total_batch: int, rank: int, world: int) -> range:
    """Return the slots of the total batch that one process takes; ValueError if a process would get none."""
    if total_batch < world:
        raise ValueError(f"a total batch of {total_batch} cannot be spread over {world} processes; take fewer devices")
    return range(total_batch * rank // world, total_batch * (rank + 1) // world)


def micro_batches(recipe: Recipe, iteration: int, rank: int = 0, world: int = 1) -> list[list[Key]]:
    """Return the keys of one process at one iteration, in pieces of at most micro_batch patches."""
    patch, total = recipe.stage(iteration)
    slots = share(total, rank, world)
    size = recipe.train.micro_batch or len(slots)
    keys = [(iteration, slot, patch) for slot in slots]
    return [keys[at : at + size] for at in range(0, len(keys), size)]


class _Order(Sampler[list[Key]]):
    """Every micro-batch from an iteration to the end of the run."""

    def __init__(self, recipe: Recipe, start: int, rank: int, world: int) -> None:
        self.recipe, self.start, self.rank, self.world = recipe, start, rank, world

    def __iter__(self) -> Iterator[list[Key]]:
        for iteration in range(self.start, self.recipe.train.iterations):
            yield from micro_batches(self.recipe, iteration, self.rank, self.world)


def loader(patches: Patches, recipe: Recipe, start: int = 0, rank: int = 0, world: int = 1) -> DataLoader[Batch]:
    """Return a loader of the micro-batches of one process from an iteration on, in order.

    They are (n, C, p, p) and (n, C, p·s, p·s). Nothing is taken from torch's global random numbers.
    """
    return DataLoader(
        patches,
        batch_sampler=_Order(recipe, start, rank, world),
        num_workers=recipe.data.workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),
    )
