"""The rim around policy: reads records, asks a pure function what to do, and does it in one transaction.

Each controller is a task of the control plane. It looks again whenever something was written and once a second, so a
lost wake-up costs a second and a restart costs nothing: what is to be done follows from the records alone.
"""

from orchestrator.controllers.config import ControllersConfig
from orchestrator.controllers.rollout_commands import cancel_rollout, roll_back_rollout, start_rollout
from orchestrator.controllers.start import start_controllers

__all__ = ["ControllersConfig", "cancel_rollout", "roll_back_rollout", "start_controllers", "start_rollout"]
