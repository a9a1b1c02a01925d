"""The space that is searched: named axes with few choices each. A configuration picks one choice of every axis."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Configuration = tuple[int, ...]
"""The index of the choice on each axis, in the order of the axes."""


@dataclass(frozen=True)
class Axis:
    """One thing to decide.

    Attributes:
        name: unique in its space.
        choices: plain data, no two equal, the gentlest first (most bits, all channels): samplers take neighbours in
            this order for alike.
    """

    name: str
    choices: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.choices or len(set(self.choices)) != len(self.choices):
            raise ValueError(f"axis {self.name!r} needs distinct choices, found {self.choices}")


@dataclass(frozen=True)
class Space:
    axes: tuple[Axis, ...]

    def __post_init__(self) -> None:
        names = [axis.name for axis in self.axes]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a space needs axes with distinct names, found {names}")

    @property
    def size(self) -> int:
        return math.prod(len(axis.choices) for axis in self.axes)

    def all(self) -> Iterator[Configuration]:
        """Every configuration, the last axis fastest."""
        return itertools.product(*(range(len(axis.choices)) for axis in self.axes))

    def values(self, configuration: Configuration) -> dict[str, Any]:
        """The choices by axis."""
        return {axis.name: axis.choices[index] for axis, index in zip(self.axes, configuration, strict=True)}

    def configuration(self, values: Mapping[str, Any]) -> Configuration:
        """The opposite of `values`; `ValueError` for a choice that an axis does not have."""
        return tuple(axis.choices.index(values[axis.name]) for axis in self.axes)

    def random(self, generator: random.Random) -> Configuration:
        return tuple(generator.randrange(len(axis.choices)) for axis in self.axes)

    def words(self, configuration: Configuration) -> str:
        """For people: `scheme integer, weight bits 4`; axes without a choice are left out."""
        chosen = zip(self.axes, configuration, strict=True)
        return ", ".join(f"{axis.name} {axis.choices[index]}" for axis, index in chosen if len(axis.choices) > 1)
