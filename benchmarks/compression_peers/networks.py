"""The networks that are compressed, for one channel of 28 x 28; needs torch only, so that peers build them too.

Their blocks are those of `runtime_peers.networks`.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime_peers.networks import Classifier, resnet8, separable
from torch import Tensor, nn

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


NETWORKS: dict[str, Callable[[], nn.Module]] = {"resnet8": lambda: resnet8(inputs=1), "ds-cnn": ds_cnn, "mlp": Mlp}
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
