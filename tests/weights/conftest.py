"""A small network and its tensors, for the tests of weights."""

import pytest
import torch

from mambairv2.network.model import MambaIRv2
from mambairv2.weights.save import published_state
from small_weights import SMALL


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MambaIRv2(SMALL).double()


@pytest.fixture
def state(model):
    return published_state(model)
