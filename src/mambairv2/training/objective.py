"""The loss of a step: the distance to the target, and what a teacher adds to it."""

from __future__ import annotations

from torch import Tensor, nn

from mambairv2.network.gumbel_sampling import Generators
from mambairv2.network.model import MambaIRv2
from mambairv2.training.distillation import FeatureLesson, Teacher
from mambairv2.training.loss import loss_of
from mambairv2.training.recipe import Goal


class Objective(nn.Module):
    """The network and its loss as one module, so that all of a step is inside one forward pass."""

    def __init__(self, network: MambaIRv2, teacher: Teacher | None = None) -> None:
        super().__init__()
        self.network = network
        self.teacher = teacher

    def forward(self, source: Tensor, target: Tensor, generators: Generators, goal: Goal) -> Tensor:
        """Return the loss of a micro-batch, a scalar: source (B, C, h, w), target (B, C, h·s, w·s), in [0, 1]."""
        weight, sampled = goal.teacher, goal.train.sampled
        self.network.train(sampled)
        draws = generators if sampled else None
        loss = source.new_zeros(())
        if weight.truth or weight.outputs:
            output = self.network(source, draws).float()
            if weight.truth:
                loss = loss + weight.truth * loss_of(goal.train, output, target)
            if weight.outputs and self.teacher:
                loss = loss + weight.outputs * loss_of(goal.train, output, self.teacher.restore(source).float())
        if (weight.features or weight.routing) and self.teacher:
            features, routing = FeatureLesson(self.network, self.teacher, draws).losses(source)
            loss = loss + weight.features * features + weight.routing * routing
        return loss
