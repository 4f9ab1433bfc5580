"""Warm start: training begins at the best linear interpolation, which the shallow path of a light network can hold.

The long skip connection takes the output of `conv_first` (3×3) straight to the 3×3 convolution of the head. Together
they are a linear 5×5 filter for each output pixel and colour. `conv_first` becomes an orthonormal embedding of its 27
inputs, the last convolution of the body is made nearly zero, and the head is solved for by least squares on training
patches. Names and shapes of the tensors stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambairv2.network.config import ONE_CONVOLUTION
from mambairv2.network.model import RGB_MEAN, MambaIRv2

BODY_SHARE = 0.01
"""What is left of the initial size of the body's last convolution."""


def warm_start(model: MambaIRv2, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Put the best linear interpolation into an untrained light network, in place.

    batches: training patches (n, C, p, p) and (n, C, p·s, p·s) in [0, 1]; some thousand pixels are enough.
    Raises ValueError for a network whose head, or whose last convolution of the body, is not a single one.
    """
    last = model.conv_after_body
    if model.config.upsampler != "pixelshuffledirect" or not isinstance(last, nn.Conv2d):
        raise ValueError(
            "a warm start needs upsampler='pixelshuffledirect' and resi_connection='1conv', "
            f"got {model.config.upsampler!r} and {model.config.resi_connection!r}"
        )
    assert last.bias is not None
    assert model.conv_first.bias is not None
    with torch.no_grad():
        last.weight.mul_(BODY_SHARE)
        last.bias.zero_()
        model.conv_first.bias.zero_()
        nn.init.orthogonal_(model.conv_first.weight)
    _solve_head(model, batches, lambda image: model.conv_first(_shifted(model, image)))


def fit_head(model: MambaIRv2, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Solve for the head by least squares on the features of a trained body, in place.

    For a network that gets a head for another scale, or for ×1, where the head gives what the input lacks, and for one
    that has ended its training. batches as for `warm_start`; ValueError for a head that is not a single convolution.
    """
    if model.config.upsampler not in ONE_CONVOLUTION:
        raise ValueError(f"only 'pixelshuffledirect' and '' can be solved for, got {model.config.upsampler!r}")
    _solve_head(model, batches, lambda image: _features(model, image))


def _solve_head(
    model: MambaIRv2, batches: Iterable[tuple[Tensor, Tensor]], features_of: Callable[[Tensor], Tensor]
) -> None:
    (conv,) = (module for module in model.head.modules() if isinstance(module, nn.Conv2d))
    assert conv.bias is not None
    size = conv.weight[0].numel() + 1
    gram = torch.zeros(size, size, dtype=torch.float64)
    cross = torch.zeros(size, conv.out_channels, dtype=torch.float64)
    with torch.no_grad():
        for source, target in batches:
            wanted = F.pixel_unshuffle(_shifted(model, target), model.config.upscale)
            if model.config.upscale == 1:
                wanted = wanted - _shifted(model, source)
            columns, values = (t.cpu() for t in _equations(features_of(source), wanted))
            gram += columns.T @ columns
            cross += columns.T @ values
        # The ridge shares a filter evenly between the two convolutions that could hold it.
        ridge = 1e-7 * gram.diagonal().mean()
        solution = torch.linalg.solve(gram + ridge * torch.eye(size, dtype=torch.float64), cross)
        conv.weight.copy_(solution[:-1].T.reshape(conv.weight.shape))
        conv.bias.copy_(solution[-1])


def _shifted(model: MambaIRv2, image: Tensor) -> Tensor:
    """The image as the network sees it inside."""
    mean = image.new_tensor(RGB_MEAN if image.shape[1] == 3 else (0.0,)).view(1, -1, 1, 1)
    return (image - mean) * model.config.img_range


def _features(model: MambaIRv2, image: Tensor) -> Tensor:
    """What the head of a network receives, (n, E, p, p)."""
    caught: list[Tensor] = []
    handle = model.head.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    training = model.training
    try:
        model.eval()(image)
    finally:
        handle.remove()
        model.train(training)
    return caught[0][:, :, : image.shape[2], : image.shape[3]]


def _equations(features: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """One row a pixel two away from the border: (n, 9·E + 1) and (n, C·s²), float64."""
    side = features.shape[2] - 2
    around = F.unfold(features, 3).double().view(len(features), -1, side, side)
    inner = around[:, :, 1:-1, 1:-1], wanted[:, :, 2:-2, 2:-2].double()
    columns, values = (t.permute(0, 2, 3, 1).flatten(0, 2) for t in inner)
    return torch.cat((columns, columns.new_ones(len(columns), 1)), 1), values
