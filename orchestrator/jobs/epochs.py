"""Epochs as stages of their own: a training that died goes on at the first epoch that nobody kept.

An epoch's key is that of the stage it belongs to and how many epochs are done. Plain data and the store that is passed
in; what an epoch leaves is the training's business.
"""

from __future__ import annotations

import dataclasses

from orchestrator.jobs.stages import StageInputs, StageOutput, StageStore


def epoch_inputs(name: str, inputs: StageInputs, done: int) -> StageInputs:
    """The key of what the training of stage `inputs` left after `done` epochs."""
    return dataclasses.replace(inputs, name=name, parameters={**inputs.parameters, "epochs_done": done})


def epochs_done(store: StageStore, name: str, inputs: StageInputs, epochs: int) -> tuple[int, StageOutput | None]:
    """How many epochs an earlier attempt finished, and what the last of them left."""
    for done in range(epochs, 0, -1):
        record = store.get_stage(epoch_inputs(name, inputs, done).key())
        if record is not None:
            return done, record.output
    return 0, None
