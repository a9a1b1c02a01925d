"""How a job says that a network learns under its teacher, as settings of the library."""

from __future__ import annotations

from orchestrator.compression.training.augment import Views
from orchestrator.compression.training.learning import Learning
from orchestrator.compression.training.objectives import Objective
from orchestrator.jobs.repair_data import RepairData
from orchestrator.spec import StudentSpec


def learning_of(spec: StudentSpec, *, epochs: int, seed: int, returned: RepairData | None) -> Learning | None:
    """None for no epochs. Returned samples have labels that function matching does not read, so KD takes its place."""
    if not epochs:
        return None
    objective = Objective(spec.objective)
    if returned and objective is Objective.MATCHING:
        objective = Objective.KD
    return Learning(
        epochs=epochs,
        batch_size=spec.batch_size,
        learning_rate=spec.learning_rate,
        temperature=spec.temperature,
        alpha=spec.alpha,
        objective=objective,
        views=Views(mirror=spec.mirror),
        seed=seed,
    )
