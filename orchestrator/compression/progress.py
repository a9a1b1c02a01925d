"""How long work tells how far it is: one type for all that trains, prunes and quantizes."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[float, str], None]  # fraction done in 0..1, what is being done
