"""The light side: an agent that pulls compressed models, runs them with the integer engine and reports what it saw."""

__version__ = "0.1.0"
"""Of the distribution; reading its metadata instead would cost the agent 3 MiB, so a test holds the two equal."""
