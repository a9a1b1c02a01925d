"""The built-in web page: a client of the operator API that shows the fleet as it changes."""

from orchestrator.dashboard.app import create_app

__all__ = ["create_app"]
