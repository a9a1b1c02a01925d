"""NNCF: unstructured pruning, single weights of the smallest magnitude over all layers. Zeros that no kernel skips."""

from __future__ import annotations

import torch

MASK = ".binary_mask"  # of parameter a.b in the state: __nncf_hooks.post_hooks.a:b__0.0.binary_mask


def prune(model, samples, labels, fraction: float):
    import nncf

    pruned = nncf.prune(
        model,
        mode=nncf.PruneMode.UNSTRUCTURED_MAGNITUDE_GLOBAL,
        ratio=1 - fraction,
        examples_inputs=samples[:1],
    )
    state = pruned.state_dict()
    parameters = dict(pruned.named_parameters())
    for name, mask in state.items():
        if name.endswith(MASK):
            path = name.removesuffix(MASK).split("post_hooks.")[1].split("__")[0].replace(":", ".")
            with torch.no_grad():
                parameters[path].mul_(mask)
    return pruned
