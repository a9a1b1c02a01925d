"""The light side: an agent that pulls compressed models, runs them with the integer engine and reports what it saw."""
