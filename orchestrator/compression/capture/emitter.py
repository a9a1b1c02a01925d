"""Makes nodes of the float graph while it is traced, and brings views into the layout that an operator asks for.

Where a view already lies as asked, nothing is emitted; where only its shape differs, a reshape, which moves nothing on
a device; else one permutation of the device. Every arrangement is made once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from orchestrator.compression.capture import ir
from orchestrator.compression.capture.views import Shape, View, is_run, merged, run_of, stored

BATCH = 2  # samples in the example; an operation that mixes them shows in a shape and is refused


class Unarrangeable(Exception):  # noqa: N818 (always turned into a CaptureError that names the operation)
    """A view cannot be brought into the layout that an operator needs; says why."""


class Emitter:
    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []
        self.shapes: dict[str, Shape] = {}
        self._arranged: dict[tuple[View, tuple[int, ...], Shape], str] = {}
        self._flattened: dict[View, str] = {}

    def add(self, node: ir.Node, shape: Shape) -> str:
        """Append a node with an output of this shape, [C, H, W] or [F]; returns its output's name."""
        self.nodes.append(node)
        self.shapes[node.output] = shape
        return node.output

    def standard(self, name: str) -> View:
        return stored(name, self.shapes[name], BATCH)

    def arrange(self, view: View, axes: Sequence[int], shape: Shape) -> str:
        """A feature map of `shape`, [C, H, W] or [F], whose storage is the view's dimensions in the order `axes`.

        `axes` leaves the batch out.

        Raises:
            Unarrangeable: samples are mixed, or one permutation of three axes is not enough.
        """
        key = (view, tuple(axes), shape)
        if key not in self._arranged:
            self._arranged[key] = self.as_shape(self._ordered(view, axes), shape)
        return self._arranged[key]

    def has_samples_first(self, view: View) -> bool:
        """Whether the first dimension is that of the samples and nothing else."""
        return view.dims[0] == ((BATCH, math.prod(self.shapes[view.name])),)

    def channels_last(self, view: View, axis: int) -> tuple[View, str]:
        """A view whose dimension `axis` is its feature map's channels, and the name of that feature map.

        The pixels, all other dimensions, keep the order in which they are stored.
        """
        channels = view.shape[axis]
        shape = self.shapes[view.name]
        if len(shape) == 3 and view.dims[axis] == ((shape[0], 1),):
            return view, view.name
        others = view.by_storage(other for other in range(len(view.dims)) if other != axis)
        if is_run(run_of(view, [*others, axis])):
            if shape[0] == channels:
                return view, view.name
            pixels = math.prod(shape) // channels
            return (moved := view.renamed(self.as_shape(view.name, (channels, 1, pixels)))), moved.name
        others = [other for other in others if other != 0]
        pixels = math.prod(view.shape[other] for other in others)
        name = self.arrange(view, [*others, axis], (channels, 1, pixels))
        return _after_arranging(view, name, [0, *others, axis]), name

    def flat(self, view: View) -> str:
        """A feature map [F] of a view [N, F]."""
        name, shape = view.name, self.shapes[view.name]
        if len(shape) == 1:
            if view != self.standard(name):
                raise Unarrangeable("reorders a flat feature map")
            return name
        if view not in self._flattened:
            features = (math.prod(shape),)
            if view.dims == (self.standard(name).dims[0], run_of(self.standard(name), (1, 2, 3))):
                flat = self.fresh(f"{name}.flat")
                node: ir.Node = ir.Flatten(name=flat, inputs=[name], output=flat)
                self._flattened[view] = self.add(node, features)
            else:
                self._flattened[view] = self.as_shape(self._ordered(view, [1]), features)
        return self._flattened[view]

    def reshape(self, view: View, shape: Sequence[int]) -> View:
        """torch's reshape, batch included; moves elements only where strides cannot say it."""
        seen = view.reshape(shape)
        if seen is not None:
            return seen
        name = self._ordered(view, range(1, len(view.dims)))
        elements = math.prod(self.shapes[name])
        seen = View(name, (((BATCH * elements, 1),),)).reshape(shape)
        assert seen is not None  # one run of storage takes any shape
        return seen

    def _ordered(self, view: View, axes: Sequence[int]) -> str:
        """A feature map whose storage is the view's dimensions in this order; its shape is whatever is convenient."""
        if not self.has_samples_first(view):
            raise Unarrangeable("does not keep samples apart: a feature map is [N, C, H, W] or [N, F]")
        factors = run_of(view, axes)
        if is_run(factors):
            return view.name
        by_stride = sorted(factors, key=lambda factor: -factor[1])
        if len(factors) > 3:
            raise Unarrangeable("needs its input in an order that one permutation of three axes cannot make")
        padded = [(1, 0)] * (3 - len(factors)) + by_stride
        height, width, channels = (size for size, _ in padded)
        source = self.as_shape(view.name, (channels, height, width))
        wanted = [(1, 0)] * (3 - len(factors)) + list(factors)
        axes_of = _permutation(padded, wanted)
        sizes = [padded[axis][0] for axis in axes_of]
        name = self.fresh(f"{view.name}.permuted")
        node = ir.Permute(name=name, inputs=[source], output=name, axes=axes_of)
        return self.add(node, (sizes[2], sizes[0], sizes[1]))

    def as_shape(self, name: str, shape: Shape) -> str:
        """The same storage in another shape."""
        if self.shapes[name] == shape:
            return name
        source = name
        for node in self.nodes:  # back to where it came from, rather than reshape what was reshaped
            if isinstance(node, ir.Reshape) and node.output == name:
                source = node.inputs[0]
        if self.shapes[source] == shape:
            return source
        made = f"{source}.as_{'x'.join(map(str, shape))}"
        if made in self.shapes:
            return made
        return self.add(ir.Reshape(name=made, inputs=[source], output=made, to=shape), shape)

    def fresh(self, name: str) -> str:
        """`name`, or the first of name.1, name.2, ... that no feature map has."""
        candidates = (f"{name}.{count}" if count else name for count in itertools.count())
        return next(candidate for candidate in candidates if candidate not in self.shapes)


def _permutation(stored_factors: Sequence[tuple[int, int]], wanted: Sequence[tuple[int, int]]) -> tuple[int, int, int]:
    """Which of the stored axes each wanted one is; axes of size 1 are all alike."""
    free = list(range(3))
    order = []
    for factor in wanted:
        axis = next(axis for axis in free if stored_factors[axis] == factor)
        free.remove(axis)
        order.append(axis)
    return (order[0], order[1], order[2])


def _after_arranging(view: View, name: str, order: Sequence[int]) -> View:
    """The view's dimensions where `order` is now that of the storage."""
    stride, dims = 1, list(view.dims)
    for axis in reversed(order):
        size = view.shape[axis]
        dims[axis] = merged([(size, stride)])
        stride *= size
    return View(name, tuple(dims))
