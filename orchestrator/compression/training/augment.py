"""Views of images for training: mirrored, moved by a pixel or two, mixed. Tensors are float32 [N, C, H, W]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Views:
    """What may be done to an image without leaving the world that it comes from.

    Attributes:
        mirror: left and right may be swapped; not where they mean something, as in digits.
        max_shift: pixels in both directions.
        mix: images may be blended with one another, which nobody has labels for.
    """

    mirror: bool = True
    max_shift: int = 2
    mix: bool = True

    def draw(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A fresh view of each image."""
        if self.mirror:
            images = mirrored(images, generator)
        if self.max_shift:
            images = shifted(images, self.max_shift, generator)
        return mixed(images, generator) if self.mix else images


def mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """Every other image mirrored, on average."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(-1), images)


def shifted(images: Tensor, max_shift: int, generator: torch.Generator) -> Tensor:
    """All moved by one offset, edges repeated; over many batches every image meets every offset."""
    height, width = images.shape[2:]
    top, left = torch.randint(0, 2 * max_shift + 1, (2,), generator=generator).tolist()
    padded = functional.pad(images, (max_shift,) * 4, mode="replicate")
    return padded[..., top : top + height, left : left + width]


def mixed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image blended with another one of the batch, by one share for all.

    Zhang et al. 2017, arXiv:1710.09412 (mixup); here without labels, for a teacher that looks at what comes out.
    """
    share = float(torch.rand(1, generator=generator))
    return share * images + (1 - share) * images[torch.randperm(len(images), generator=generator)]
