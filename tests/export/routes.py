"""The prompts that PyTorch chooses for each token, block by block, and how nearly it chose another."""

import torch

from mambairv2.network.attentive_scan import AttentiveStateSpaceModule


def routed(model, image):
    """Run a network; return the result, and for each block the labels (B·L,) and the gap to the second logit.

    The gap is a share of the range of the block's logits: trained routers have ranges from 0.1 to 120.
    """
    labels, gaps = [], []

    def note(_module, _inputs, logits):
        best = logits.flatten(0, -2).topk(2, dim=-1)
        labels.append(logits.flatten(0, -2).argmax(-1).numpy())
        gaps.append(((best.values[:, 0] - best.values[:, 1]) / (logits.max() - logits.min())).numpy())

    modules = [m for m in model.modules() if isinstance(m, AttentiveStateSpaceModule)]
    hooks = [module.route.register_forward_hook(note) for module in modules]
    try:
        with torch.inference_mode():
            return model(image).numpy(), labels, gaps
    finally:
        for hook in hooks:
            hook.remove()
