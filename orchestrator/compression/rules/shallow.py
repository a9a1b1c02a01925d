"""Rules turned back into a network: it answers as they do until it is trained, and then it can become better.

With t the threshold of a condition on feature f, and clip(v) = min(max(v, 0), 1):

    condition  h = clip((x[f] - t - 1/2) / softness + 1/2)
    rule       r = clip(sum of h over its conditions that must hold - sum over those that must not - (must hold - 1))
    answer     y = sum over rules of r * what the rule says of each class

x and t are integers, so at softness 1 every h is 0 or 1, every r is 1 exactly where its rule applies, and y is the sum
of the rules. Nothing but the last layer learns then, since a step has no slope: softer conditions hold gradually, over
about as many steps of a feature, and training can move them. Biau, Scornet & Welbl 2016, arXiv:1604.07143, do so by
tanh.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from orchestrator.compression.errors import TrainingError
from orchestrator.compression.rules.forest import Forest


class RuleNetwork(nn.Module):
    """Two layers of clipped sums and a linear one; takes float32 [N, F], or images [N, C, H, W] with H * W * C = F.

    Args:
        features: how many there are (F); in images in the device's order, channels last.
        scale, zero_point: of the int8 grid that the rules read: x stands for round(x / scale) + zero_point.
        softness: steps of a feature over which a condition comes to hold, at least 1.
    """

    def __init__(
        self, forest: Forest, features: int, *, scale: float = 1.0, zero_point: int = 0, softness: float = 1.0
    ) -> None:
        super().__init__()
        if not softness >= 1:
            raise TrainingError(f"softness must be at least 1, found {softness}")
        ways = [(tree.values[leaf], way) for tree in forest.trees for leaf, way in tree.paths()]
        found = dict.fromkeys(condition for _, way in ways for condition, _ in way)
        number = {condition: index for index, condition in enumerate(found)}
        self.conditions = nn.Linear(features, max(len(number), 1))
        self.rules = nn.Linear(self.conditions.out_features, len(ways))
        self.answers = nn.Linear(len(ways), forest.classes)
        self.clip = nn.Hardtanh(0.0, 1.0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            for condition, row in number.items():
                self.conditions.weight[row, condition.feature] = 1 / (scale * softness)
                self.conditions.bias[row] = (zero_point - condition.threshold - 0.5) / softness + 0.5
            for rule, (values, way) in enumerate(ways):
                for condition, holds in way:
                    self.rules.weight[rule, number[condition]] = 1.0 if holds else -1.0
                self.rules.bias[rule] = 1.0 - sum(holds for _, holds in way)
                self.answers.weight[:, rule] = torch.from_numpy(values)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            x = x.permute(0, 2, 3, 1)
        applies = self.clip(self.rules(self.clip(self.conditions(x.flatten(1)))))
        answers: Tensor = self.answers(applies)
        return answers
