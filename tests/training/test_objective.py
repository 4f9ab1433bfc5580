"""With a margin the loss is that of what `restore` gives: the network sees the patch mirrored, the loss does not."""

import pytest
import torch

from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.restorer import Restorer
from mambairv2.training.distillation import Teacher
from mambairv2.training.loss import loss_of
from mambairv2.training.objective import Objective
from mambairv2.training.recipe import Recipe
from small_weights import SMALL


def network():
    torch.manual_seed(3)
    return MambaIRv2(SMALL)


def goal(margin, **teacher):
    part = {"iterations": 1, "sampled": False, "margin": margin}
    return Recipe.model_validate({"train": part, "teacher": {"weights": "teacher", **teacher}}).goal(0)


def test_a_patch_with_a_margin_is_restored_as_a_picture_is():
    net = network()
    source = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    given = goal(16)
    target = torch.zeros(1, 3, 64, 64)
    loss = Objective(net)(source, target, None, given)
    restored = Restorer(net, "cpu").infer(source[0])[None]
    assert loss.item() == pytest.approx(loss_of(given.train, restored, target).item(), rel=1e-5)
    assert loss.item() != pytest.approx(Objective(net)(source, target, None, goal(0)).item(), rel=1e-4)


def test_a_teacher_sees_the_margin_too():
    source = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    given = goal(5, outputs=1.0, truth=0.0)
    loss = Objective(network(), Teacher(network()))(source, torch.zeros(2, 3, 32, 32), None, given)
    assert loss.item() == pytest.approx(0, abs=1e-6)
