"""The way out of the spools: what waits is pushed in batches, oldest first, until the control plane has it all.

What the control plane refuses must not block what follows it: a telemetry record is replaced by the notice that it is
dropped, samples are forgotten.
"""

from __future__ import annotations

import logging

from edge_agent.client import ControlPlaneClient
from edge_agent.crashpoints import reach
from edge_agent.errors import RefusedError
from edge_agent.samples import SampleKeeper
from edge_agent.telemetry import TelemetryLog
from protos import fleet_pb2 as pb

logger = logging.getLogger(__name__)


async def push_telemetry(client: ControlPlaneClient, log: TelemetryLog) -> None:
    """Push until nothing waits, or until the control plane takes nothing more.

    Raises:
        TransientError, RefusedError: the control plane is away, or refuses this device.
        SpoolError, OSError: the spool cannot be read.
    """
    while (request := log.batch()) is not None:
        before = log.pending
        log.acknowledge(await _push_batch(client, log, request))
        if log.pending >= before:
            return  # the control plane took nothing; at the end of the next window it may


async def push_samples(client: ControlPlaneClient, samples: SampleKeeper) -> None:
    """Push until nothing waits, or until the control plane takes nothing more.

    Raises:
        As `push_telemetry`.
    """
    while (request := samples.batch()) is not None:
        before = samples.pending
        try:
            samples.acknowledge(await client.push_samples(request))
        except RefusedError as error:
            if not _is_about_content(error):
                raise
            logger.warning("the control plane refused samples, dropping them: %s", error)
            samples.drop(request)
        if samples.pending >= before:
            return


async def _push_batch(client: ControlPlaneClient, log: TelemetryLog, request: pb.PushTelemetryRequest) -> int:
    """Push a batch; returns what the control plane wants next."""
    try:
        response = await client.push_telemetry(request)
    except RefusedError as error:
        if error.next_seq is not None:
            return error.next_seq
        if not _is_about_content(error):
            raise
        logger.warning("the control plane refused telemetry: %s", error)
        return await _push_oldest(client, log)
    reach("telemetry-pushed")
    return response.next_seq


async def _push_oldest(client: ControlPlaneClient, log: TelemetryLog) -> int:
    oldest, apology = log.batch(max_records=1), log.apology("refused by the control plane")
    assert oldest is not None
    assert apology is not None
    try:
        return (await client.push_telemetry(oldest)).next_seq
    except RefusedError as error:
        if not _is_about_content(error):
            raise
    return (await client.push_telemetry(apology)).next_seq


def _is_about_content(error: RefusedError) -> bool:
    return error.code == "INVALID_ARGUMENT"
