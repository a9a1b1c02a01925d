"""Transformers and 1-D networks as people write them; input [N, 1, 8, 8], ten classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS = 16, 4


class Attention(nn.Module):
    """Separate projections and torch's own attention."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.project = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (self.split(part(x)) for part in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.project(mixed.transpose(1, 2).flatten(2))
        return projected

    @staticmethod
    def split(x: Tensor) -> Tensor:
        return x.unflatten(2, (HEADS, -1)).transpose(1, 2)


class FusedAttention(nn.Module):
    """One layer for queries, keys and values, and everything by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        weights = ((query * (width // HEADS) ** -0.5) @ key.transpose(-2, -1)).softmax(dim=-1)
        weights = functional.dropout(weights, 0.1, self.training)
        projected: Tensor = self.project((weights @ value).transpose(1, 2).reshape(batch, tokens, width))
        return projected


class Block(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.first_norm, self.second_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first_norm(x))
        return x + self.mlp(self.second_norm(x))


class VisionTransformer(nn.Module):
    """Patches of 2 x 2, a position embedding, two blocks, the mean over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, WIDTH, 2, 2)
        self.position = nn.Parameter(0.1 * torch.randn(1, 16, WIDTH))
        self.blocks = nn.Sequential(Block(Attention()), Block(FusedAttention()))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(x)).mean(dim=1))
        return logits


class ClassToken(nn.Module):
    """A class token before the others, and the answer read off it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, WIDTH, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.position = nn.Parameter(0.1 * torch.randn(1, 17, WIDTH))
        self.block = Block(FusedAttention())
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.position
        logits: Tensor = self.head(self.block(x)[:, 0])
        return logits


class Gated(nn.Module):
    """Halves of a layer that gate each other, squeeze and excitation, a learned scale, a linear layer over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, WIDTH, 2, 2)
        self.squeeze = nn.Conv2d(WIDTH, WIDTH, 1)
        self.both = nn.Linear(WIDTH, 2 * WIDTH)
        self.scale = nn.Parameter(torch.rand(WIDTH) + 0.5)
        self.mix = nn.Linear(16, 16)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x * torch.sigmoid(self.squeeze(x.mean(dim=(2, 3), keepdim=True)))
        x = x.flatten(2).transpose(1, 2)
        gate, value = self.both(x).chunk(2, dim=-1)
        x = x + functional.silu(gate) * value * self.scale
        x = x + torch.tanh(self.mix(x.transpose(1, 2)).transpose(1, 2)) / 2
        logits: Tensor = self.head(x.mean(dim=1))
        return logits


class Temporal(nn.Module):
    """Rows as time: 1-D convolutions, batch norm and pools, then attention without heads."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(8, WIDTH, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.second = nn.Conv1d(WIDTH, WIDTH, 3, padding="same", groups=WIDTH)
        self.head = nn.Linear(WIDTH * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.first(x.squeeze(1).transpose(1, 2))))
        x = functional.avg_pool1d(functional.max_pool1d(self.second(x), 2), 3, stride=1, padding=1)
        tokens = x.transpose(1, 2)
        mixed = torch.bmm(torch.softmax(torch.bmm(tokens, x), dim=-1), tokens)
        logits: Tensor = self.head(mixed.flatten(1))
        return logits


NETWORKS: dict[str, type[nn.Module]] = {
    "transformer": VisionTransformer, "class-token": ClassToken, "gated": Gated, "temporal": Temporal,
}  # fmt: skip
