"""A network whose kernels multiply in bfloat16: near to float32, and float32 wherever a gradient is asked for."""

import pytest
import torch

from mambairv2 import MambaIRv2, load_model
from mambairv2.network.backends import without_bfloat16
from small_weights import SMALL

pytestmark = pytest.mark.skipif(without_bfloat16() is not None, reason=str(without_bfloat16()))


def test_a_trained_network_stays_near():
    model = load_model("sr-x2")
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 5, 5), size=(40, 56), mode="bicubic").clamp(0, 1)
    with torch.inference_mode():
        exact = model(image)
        near = model.set_products("bfloat16")(image)
        assert torch.equal(model.set_products("float32")(image), exact)
    assert near.dtype == torch.float32
    assert 0 < (near - exact).abs().max() < 0.02
    assert (near - exact).square().mean().sqrt() < 0.002


def test_gradients_do_not_change():
    model, image = MambaIRv2(SMALL).eval(), torch.rand(1, 3, 16, 16)
    results = []
    for products in ("float32", "bfloat16"):
        model.zero_grad()
        y = model.set_products(products)(image)
        y.square().mean().backward()
        results.append([y.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_other_backends_stay_as_they_were_chosen():
    model = MambaIRv2(SMALL).set_backend(scan="chunked").set_products("bfloat16")
    assert all(
        (module.backends.scan, module.backends.products) == ("chunked", "bfloat16")
        for module in model.modules()
        if hasattr(module, "backends")
    )
    assert model.set_backend().backends.products == "bfloat16"
