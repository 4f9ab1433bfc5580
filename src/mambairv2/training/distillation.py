"""Distillation: a student learns the outputs, the features and the routing of a trained network, its teacher.

For features, the teacher runs once over a batch. Each attention, scan and feed-forward of the student runs on the
teacher's input to the same part, and its result is compared with the teacher's. So every part has a target of its own
from the first step, and no gradient passes through more than one part. Where the depths of the networks differ, whole
groups are compared instead.

Shape legend: B batch, C image channels, H W padded height and width, E channels of the student, F of the teacher.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambairv2.network.gumbel_sampling import Generators
from mambairv2.network.layers import to_image, to_tokens
from mambairv2.network.model import AttentiveStateSpaceBlock as Block
from mambairv2.network.model import AttentiveStateSpaceGroup as Group
from mambairv2.network.model import MambaIRv2, mirror_pad, normalize

_TINY = 1e-12  # added to energies, since a part of the teacher may change nothing


class Teacher:
    """A trained network, and the linear map from its channels to those of the student.

    Not a module: its weights belong to no optimizer and no checkpoint.
    """

    def __init__(self, network: MambaIRv2, basis: Tensor | None = None) -> None:
        self.network = network.requires_grad_(False).eval()
        self.basis = basis
        """(F, E), orthonormal columns; None where the student has the teacher's channels."""

    def to(self, device: torch.device) -> None:
        """Move the network and the map to a device."""
        self.network.to(device)
        self.basis = None if self.basis is None else self.basis.to(device)

    @torch.no_grad()
    def restore(self, image: Tensor) -> Tensor:
        """Restore a batch, by the likeliest prompts."""
        return self.network(image)

    def reduce(self, features: Tensor) -> Tensor:
        """Map (B, H, W, F) to the student's channels, (B, H, W, E)."""
        return features if self.basis is None else features @ self.basis.to(features)


def check_teacher(student: MambaIRv2, teacher: MambaIRv2, *, outputs: bool, features: bool, routing: bool) -> None:
    """Raise ValueError for parts of the loss that the two networks do not allow."""
    mine, his = student.config, teacher.config
    if mine.in_channels != his.in_channels:
        raise ValueError(f"the teacher is for {his.in_channels} image channels, the network for {mine.in_channels}")
    if outputs and mine.upscale != his.upscale:
        raise ValueError(f"a network for ×{mine.upscale} cannot learn outputs of a teacher for ×{his.upscale}")
    if features and mine.embed_dim > his.embed_dim:
        raise ValueError(f"a network of {mine.embed_dim} channels cannot learn features of {his.embed_dim}")
    if features and len(mine.depths) > len(his.depths):
        raise ValueError(f"a network of {len(mine.depths)} groups cannot learn features of {len(his.depths)}")
    if routing and not (mine.depths == his.depths and same_prompts(student, teacher)):
        raise ValueError("routing can be learnt only from a teacher with the same depths and number of prompts")


def same_prompts(student: MambaIRv2, teacher: MambaIRv2) -> bool:
    """Whether a label of the teacher means a prompt of the student."""
    routed = all(n.config.attentive_scan and n.config.scan_directions == 1 for n in (student, teacher))
    return routed and student.config.num_tokens == teacher.config.num_tokens


class FeatureLesson:
    """The feature and routing terms of one batch.

    The error of a part is the sum of its squared errors, divided by the energy of the teacher's change.
    """

    def __init__(self, student: MambaIRv2, teacher: Teacher, generators: Generators) -> None:
        self.student, self.teacher, self.generators = student, teacher, generators
        self.same_prompts = same_prompts(student, teacher.network)
        self.errors: list[Tensor] = []
        self.routing: list[Tensor] = []

    def losses(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the errors of all parts summed, and the cross-entropies to the teacher's labels summed.

        image: (B, C, h, w) in [0, 1]. The cross-entropy is 0 where layers or prompts of the two differ.
        """
        mine, his = self.student, self.teacher.network
        image = mirror_pad(image, math.lcm(mine.config.window_size, his.config.window_size))
        with torch.no_grad():
            first = to_tokens(his.conv_first(normalize(image, his.config)))
            y = his.norm_first(first)
        self._compare(to_tokens(mine.conv_first(normalize(image, mine.config))), first)
        self._compare(mine.norm_first(self.teacher.reduce(first)), y)
        for group, stretch in zip(mine.groups, stretches(len(mine.groups), his.groups), strict=True):
            assert isinstance(group, Group)
            learn = self._learn_layers if mine.config.depths == his.config.depths else self._learn_group
            y = learn(group, stretch, y)
        with torch.no_grad():
            last = to_tokens(his.conv_after_body(to_image(his.norm(y))))
        self._compare(to_tokens(mine.conv_after_body(to_image(mine.norm(self.teacher.reduce(y))))), last)
        if mine.config.upscale == his.config.upscale:
            self._learn_head(last + first)
        return torch.stack(self.errors).sum(), torch.stack([image.new_zeros(()), *self.routing]).sum()

    def _learn_layers(self, group: Group, stretch: Sequence[Group], y: Tensor) -> Tensor:
        """Teach each layer of a group, then its convolution; returns the teacher's features after the group."""
        (his,), begin = stretch, y
        for layer, model in zip(group.layers, his.layers, strict=True):
            assert isinstance(layer, Block)
            assert isinstance(model, Block)
            y = self._learn_layer(layer, model, y)
        with torch.no_grad():
            after = to_tokens(his.conv(to_image(y)))
        self._compare(to_tokens(group.conv(to_image(self.teacher.reduce(y)))), after)
        return after + begin

    def _learn_layer(self, mine: Block, his: Block, x: Tensor) -> Tensor:
        """Teach attention, scan and both feed-forwards, each given the teacher's input to it.

        Returns the teacher's features after the layer.
        """
        reduce = self.teacher.reduce
        with torch.no_grad():
            a = his.attention.fused(x, his.norm1)
            x1 = his.ffn1.fused(a, his.norm2, x, his.scale1)
        self._compare(mine.attention.fused(reduce(x), mine.norm1), a, a - x)
        self._compare(mine.ffn1.fused(reduce(a), mine.norm2, reduce(x), mine.scale1), x1, x1 - a)
        s = self._learn_scan(mine, his, x1) if his.has_scan else x1
        with torch.no_grad():
            out = his.ffn2.fused(s, his.norm4, x1, his.scale2)
        self._compare(mine.ffn2.fused(reduce(s), mine.norm4, reduce(x1), mine.scale2), out, out - s)
        return out

    def _learn_scan(self, mine: Block, his: Block, x: Tensor) -> Tensor:
        """Teach the attentive scan, with the teacher's labels where both have such prompts, and the routing to them.

        Returns the teacher's features after the scan.
        """
        reduced = self.teacher.reduce(x)
        if not self.same_prompts:
            with torch.no_grad():
                s = his.attentive_scan.fused(x, his.norm3)
            if mine.has_scan:
                self._compare(mine.attentive_scan.fused(reduced, mine.norm3, self.generators), s, s - x)
            return s
        with torch.no_grad():
            label = his.attentive_scan.route(his.norm3(x)).flatten(1, 2).argmax(-1)
            s = his.attentive_scan.fused(x, his.norm3, routed=his.attentive_scan.prompts_of(label))
        routed = mine.attentive_scan.prompts_of(label)
        self._compare(mine.attentive_scan.fused(reduced, mine.norm3, routed=routed), s, s - x)
        logits = mine.attentive_scan.route(mine.norm3(reduced))
        self.routing.append(F.cross_entropy(logits.flatten(0, 2).float(), label.flatten()))
        return s

    def _learn_group(self, group: Group, stretch: Sequence[Group], y: Tensor) -> Tensor:
        """Teach a group what a stretch of the teacher's groups does; returns the teacher's features after it."""
        after = y
        with torch.no_grad():
            for his in stretch:
                after = his(after)
        self._compare(group(self.teacher.reduce(y), self.generators), after, after - y)
        return after

    def _learn_head(self, features: Tensor) -> None:
        """Teach the reconstruction, given the teacher's last features."""
        mine, his = self.student, self.teacher.network
        with torch.no_grad():
            wanted = his.head(to_image(features)) / his.config.img_range
        output = mine.head(to_image(self.teacher.reduce(features))) / mine.config.img_range
        self._add(output - wanted, wanted)

    def _compare(self, mine: Tensor, wanted: Tensor, change: Tensor | None = None) -> None:
        """Note the error of the student's features, (B, H, W, E), against the teacher's, (B, H, W, F)."""
        self._add(mine - self.teacher.reduce(wanted), self.teacher.reduce(wanted if change is None else change))

    def _add(self, error: Tensor, change: Tensor) -> None:
        self.errors.append(error.float().square().sum() / (change.float().square().sum() + _TINY))


def stretches(count: int, groups: Iterable[nn.Module]) -> Iterator[list[Group]]:
    """Divide the groups of a teacher among `count` groups of a student, in order, as evenly as they go."""
    given = [group for group in groups if isinstance(group, Group)]
    ends = [len(given) * number // count for number in range(count + 1)]
    for start, end in itertools.pairwise(ends):
        yield given[start:end]


@torch.no_grad()
def principal_channels(teacher: MambaIRv2, images: Iterable[Tensor], channels: int) -> Tensor:
    """Return the directions that hold most of the teacher's features, (F, channels), orthonormal columns.

    images: batches (B, C, h, w) in [0, 1]. The features at the end of each group and its change count alike.
    """
    width = teacher.config.embed_dim
    gram = torch.zeros(width, width, dtype=torch.float64)
    for image in images:
        padded = mirror_pad(image, teacher.config.window_size)
        first = to_tokens(teacher.conv_first(normalize(padded, teacher.config)))
        y = teacher.norm_first(first)
        parts = [first, y]
        for group in teacher.groups:
            after = group(y)
            parts += [after, after - y]
            y = after
        parts.append(to_tokens(teacher.conv_after_body(to_image(teacher.norm(y)))))
        for part in parts:
            rows = part.flatten(0, 2).double().cpu()
            gram += rows.T @ rows / (rows.square().sum() + _TINY)
    return torch.linalg.eigh(gram).eigenvectors[:, -channels:].float()
