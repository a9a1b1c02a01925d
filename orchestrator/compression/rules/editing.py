"""Adds operators to a model that is lowered already, and takes out those that nobody needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from orchestrator.compression.artifact import Artifact
from orchestrator.compression.lower.model import serialise
from orchestrator.compression.lower.tensors import TensorTable
from protos import model_pb2 as pb

TENSOR_FIELDS = frozenset(
    {
        "weight",
        "bias",
        "multiplier",
        "shift",
        "table",
        "nodes",
        "scores",
        "raw_table",
        "channel_affine",
        "gain",
        "value",
    }
)
"""Fields of model.proto that are indices of tensors."""


@dataclass
class Editing:
    """A model that operators are added to; `tensors` continues its list of constants."""

    model: pb.Model
    tensors: TensorTable

    @classmethod
    def of(cls, artifact: Artifact) -> Editing:
        """A copy without golden vectors, which belong to the model as it was."""
        model = pb.Model.FromString(artifact.model)
        model.ClearField("golden")
        table = TensorTable()
        table.tensors.extend(model.tensors)
        table.blobs.update(artifact.blobs)
        return cls(model, table)

    def finish(self, output: int, labels: tuple[str, ...] = ()) -> Artifact:
        """A model with this output, of what it needs and nothing else."""
        model = pb.Model()
        model.CopyFrom(self.model)
        del model.tensors[:]
        model.tensors.extend(self.tensors.tensors)
        model.output.CopyFrom(pb.Output(activation=output, labels=labels))
        drop_unread(model)
        used = {tensor.blob.sha256 for tensor in model.tensors if tensor.HasField("blob")}
        return Artifact(serialise(model), {sha: data for sha, data in self.tensors.blobs.items() if sha in used})

    def add(self, name: str, inputs: list[int], output: pb.Activation, **kind: object) -> int:
        self.model.activations.append(output)
        self.model.operators.add(name=name, inputs=inputs, output=len(self.model.activations) - 1, **kind)
        return len(self.model.activations) - 1


def drop_unread(model: pb.Model) -> None:
    """Remove operators that the output does not depend on, with their activations and tensors; indices follow."""
    needed = {model.output.activation}
    kept = []
    for operator in reversed(model.operators):
        if operator.output in needed:
            needed.update(operator.inputs)
            kept.append(operator)
    operators = kept[::-1]
    needed.add(model.input.activation)
    place = {index: position for position, index in enumerate(sorted(needed))}
    model.input.activation, model.output.activation = place[model.input.activation], place[model.output.activation]
    for operator in operators:
        operator.output = place[operator.output]
        operator.inputs[:] = [place[index] for index in operator.inputs]
    tensors: set[int] = set()
    parts: list[Message] = [model.input, *operators]
    for part in parts:
        _replace_tensors(part, lambda index: tensors.add(index) or index)  # type: ignore[func-returns-value]
    positions = {index: position for position, index in enumerate(sorted(tensors))}
    for part in parts:
        _replace_tensors(part, positions.__getitem__)
    _keep(model.activations, sorted(needed))
    _keep(model.tensors, sorted(tensors))
    saved = [pb.Operator.FromString(operator.SerializeToString()) for operator in operators]
    del model.operators[:]
    model.operators.extend(saved)


def _replace_tensors(message: Message, replacement: Callable[[int], int]) -> None:
    """Put another index in every field that refers to a tensor, in this message and those within."""
    for descriptor in message.DESCRIPTOR.fields:
        value = getattr(message, descriptor.name)
        if descriptor.message_type is not None:
            if _is_repeated(value):
                for element in value:
                    _replace_tensors(element, replacement)
            elif message.HasField(descriptor.name):
                _replace_tensors(value, replacement)
        elif _is_tensor_index(message, descriptor):
            setattr(message, descriptor.name, replacement(value))


def _is_tensor_index(message: Message, field: FieldDescriptor) -> bool:
    if field.name not in TENSOR_FIELDS or field.type != field.TYPE_UINT32:
        return False
    return not field.has_presence or message.HasField(field.name)


def _is_repeated(value: object) -> bool:
    return not isinstance(value, Message)


def _keep(repeated: object, indices: list[int]) -> None:
    """Leave only the elements at `indices` of a repeated message field."""
    elements = [type(repeated[index]).FromString(repeated[index].SerializeToString()) for index in indices]  # type: ignore[index]
    del repeated[:]  # type: ignore[attr-defined]
    repeated.extend(elements)  # type: ignore[attr-defined]
