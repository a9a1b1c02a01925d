"""The networks that are compressed, for one channel of 28 x 28; needs torch only, so that peers build them too.

Their blocks are those of `runtime_peers.networks`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from runtime_peers.networks import Classifier, resnet8, separable
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10
WIDTH = 64  # of DS-CNN's blocks, as in MLPerf Tiny


def ds_cnn(width: int = WIDTH) -> nn.Module:
    """Depthwise-separable, 20 thousand parameters: MLPerf Tiny's keyword spotter with a stem for images."""
    stem = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    return Classifier(nn.Sequential(stem, *(separable(width, width) for _ in range(4))), width, CLASSES)


class Mlp(nn.Module):
    """109 thousand parameters in three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, CLASSES)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class TransformerBlock(nn.Module):
    """Attention and a perceptron, each after its layer norm and beside an identity (arXiv:2002.04745)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.project = (nn.Linear(width, width) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention_norm(x)
        query, key, value = (self.by_head(layer(y)) for layer in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.project(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.mlp_norm(x))

    def by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class VisionTransformer(nn.Module):
    """139 thousand parameters: 49 patches of 4 x 4, four blocks, the mean over tokens instead of a class token."""

    def __init__(self, width: int = 64, depth: int = 4, heads: int = 4, patch: int = 4, side: int = 28) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, width, patch, patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, (side // patch) ** 2, width))
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads, 2 * width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet8": lambda: resnet8(inputs=1),
    "ds-cnn": ds_cnn,
    "mlp": Mlp,
    "vit": VisionTransformer,
}
# The same architectures at no more than a tenth of the multiplications.
STUDENTS: dict[str, Callable[[], nn.Module]] = {
    "resnet8": lambda: resnet8(inputs=1, widths=(5, 5, 10, 19)),
    "ds-cnn": lambda: ds_cnn(width=17),
}


def with_widths_of(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """Give `model` the weights in `state`, which may be of a network with fewer channels; depthwise stays depthwise."""
    for path, module in model.named_modules():
        parameters = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, old in parameters:
            new = state[f"{path}.{name}" if path else name]
            if isinstance(old, nn.Parameter):
                setattr(module, name, nn.Parameter(new))
            else:
                module.register_buffer(name, new)
        if isinstance(module, nn.Conv2d):
            if module.groups > 1:
                module.groups = module.weight.shape[0]
            module.out_channels, module.in_channels = len(module.weight), module.weight.shape[1] * module.groups
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape
        elif isinstance(module, nn.BatchNorm2d):
            module.num_features = len(module.weight)
    return model
