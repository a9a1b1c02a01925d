"""An agent as a process of its own, which can be told to kill itself at a named crash point or to say what it imported.

Run as a script, with the name of a crash point and how often it is to be passed before, then the agent's own arguments.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    from edge_agent import crashpoints
    from edge_agent.main import main as agent_main

    point, passes, *arguments = sys.argv[1:]
    remaining = int(passes)

    def hook(name: str) -> None:
        nonlocal remaining
        if name == point:
            remaining -= 1
            if remaining < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if point:
        crashpoints.install(hook)
    result = agent_main(arguments)
    print("imported:", *sorted(name for name in sys.modules if "." not in name), flush=True)
    return result


async def start_agent(*arguments: str, crash_at: str = "", after: int = 0) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.agent_process", crash_at, str(after), *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def stop_agent(agent: asyncio.subprocess.Process) -> tuple[str, str]:
    """End it as systemd would, and return what it printed."""
    if agent.returncode is None:
        agent.terminate()
    out, err = await asyncio.wait_for(agent.communicate(), 20)
    return out.decode(), err.decode()


if __name__ == "__main__":
    sys.exit(main())
