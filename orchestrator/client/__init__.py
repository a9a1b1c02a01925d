"""The Python SDK: everything that operators and job drivers can ask of a control plane.

    async with Client("127.0.0.1:7444") as client:
        jobs = await client.jobs.list()
        async for event in client.jobs.watch(from_revision=jobs.revision):
            print(event.job.state)

Needs neither ray nor torch nor a database. Answers are the messages of protos/operator.proto; errors are those of
orchestrator.errors.
"""

from orchestrator.client.client import Client

__all__ = ["Client"]
