"""Devices: what they said they are, what they shall run, and how far they are with it."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from orchestrator.errors import ConflictError, NotFoundError
from orchestrator.records import (
    ActionReport,
    ActionState,
    Assignment,
    Device,
    DeviceFacts,
    ProbationTerms,
    PublishedModel,
)
from orchestrator.store import schema
from orchestrator.store.actions import judge_report
from orchestrator.store.codec import decode, encode
from orchestrator.store.events import append_event
from orchestrator.store.table import RecordTable

_devices = schema.devices.c
_assignments = schema.assignments.c
_actions = schema.actions.c

DOORBELL_KINDS = ("assignment", "commit", "benchmark", "samples_asked")
"""Events after which a device has reason to sync; the subject is the device, but for a benchmark."""


class Devices(RecordTable[Device]):
    table = schema.devices
    kind = "device"
    key = schema.devices.c.id
    newest_first = schema.devices.c.id
    record_type = Device

    def columns(self, record: Device) -> Mapping[str, object]:
        return {
            "id": record.id,
            "device_class": record.facts.device_class,
            "online": record.online,
            "last_seen_ms": record.last_seen_ms,
        }

    def _from_row(self, row: Mapping[Any, Any]) -> Device:
        # Liveness is written in bulk, past the record and the log.
        return dataclasses.replace(super()._from_row(row), online=row["online"], last_seen_ms=row["last_seen_ms"])

    def list(self, *, device_class: str = "", limit: int = 0) -> list[Device]:
        """By id; of every class where none is named or the name is "*"."""
        query = select(self.table)
        if device_class not in ("", "*"):
            query = query.where(_devices.device_class == device_class)
        return self._select(query, limit)[::-1]

    # ---- what it shall run

    def assign(
        self,
        device_id: str,
        model: PublishedModel,
        *,
        probation: ProbationTerms | None = None,
        rollout_id: str = "",
    ) -> Assignment:
        """Give a device a model, as the next generation.

        Generations never fall: where the device knows a higher one than this database (restored from a backup), the
        next is above that.
        """
        device = self.get(device_id)
        given = self.connection.execute(
            select(func.max(_assignments.generation)).where(_assignments.device_id == device_id)
        ).scalar()
        assignment = Assignment(
            device_id=device_id,
            generation=max(given or 0, device.accepted_generation, device.committed_generation) + 1,
            action_id=uuid.uuid4().hex,
            model_name=model.name,
            model_digest=model.digest,
            model_size_bytes=model.file_bytes,
            probation=probation,
            rollout_id=rollout_id,
        )
        row = {
            "device_id": device_id,
            "generation": assignment.generation,
            "action_id": assignment.action_id,
            "model_digest": model.digest,
            "rollout_id": rollout_id,
            "record": encode(assignment),
        }
        self.connection.execute(insert(schema.assignments).values(row))
        append_event(self.connection, "assignment", device_id, self.now_ms, encode(assignment))
        self.put(
            dataclasses.replace(
                device,
                assignment=assignment,
                action_id=assignment.action_id,
                action_state=ActionState.ASSIGNED,
                action_detail="",
                pairs=None,
            )
        )
        return assignment

    def commit(self, device_id: str, generation: int) -> None:
        """Tell a device that its probation of `generation` has been judged passed; never taken back."""
        device = self.get(device_id)
        if generation <= device.committed_generation:
            return
        if device.assignment is None or generation > device.assignment.generation:
            raise ConflictError(f"device {device_id!r} was never given generation {generation}")
        append_event(self.connection, "commit", device_id, self.now_ms, str(generation))
        self.put(dataclasses.replace(device, committed_generation=generation))

    def find_assignment(self, device_id: str, generation: int) -> Assignment | None:
        query = select(_assignments.record).where(
            _assignments.device_id == device_id, _assignments.generation == generation
        )
        record = self.connection.execute(query).scalar_one_or_none()
        return None if record is None else decode(Assignment, record)

    # ---- what it says

    def observe(
        self,
        device_id: str,
        facts: DeviceFacts,
        *,
        accepted_generation: int,
        running_digest: str,
        samples_consent: bool,
    ) -> Device:
        """Take what a device says of itself in a Sync; logged only where it says something new."""
        before = self.find(device_id)
        device = before or Device(id=device_id, facts=facts, online=True, last_seen_ms=self.now_ms)
        device = dataclasses.replace(
            device,
            facts=facts,
            online=True,
            last_seen_ms=self.now_ms,
            accepted_generation=max(device.accepted_generation, accepted_generation),
            running_digest=running_digest,
            previous_digest=self._previous_digest(device_id, running_digest),
            samples_consent=samples_consent,
        )
        if before is None or dataclasses.replace(before, last_seen_ms=self.now_ms) != device:
            self.put(device)
        return device

    def report(self, report: ActionReport) -> Device:
        """Take a device's state of one action.

        Raises:
            NotFoundError: that action was never given to this device.
            ConflictError: the report contradicts an earlier one.
        """
        assignment = self._assignment_of(report)
        before = self.find_report(report.action_id)
        device = self.get(report.device_id)
        if not judge_report(before, report):
            return device
        row = {
            "action_id": report.action_id,
            "device_id": report.device_id,
            "generation": report.generation,
            "model_digest": assignment.model_digest,
            "state": report.state.value,
            "record": encode(report),
        }
        self.connection.execute(insert(schema.actions).prefix_with("OR REPLACE").values(row))
        if device.action_id not in ("", report.action_id):
            return device  # about an older assignment: kept, but no longer what the device is about
        running = assignment.model_digest if report.state is ActionState.COMMITTED else device.running_digest
        committed = device.committed_generation
        if report.state is ActionState.COMMITTED:
            committed = max(committed, report.generation)
        device = dataclasses.replace(
            device,
            action_id=report.action_id,
            action_state=report.state,
            action_detail=report.detail,
            pairs=report.pairs if report.pairs is not None else device.pairs,
            accepted_generation=max(device.accepted_generation, report.generation),
            committed_generation=committed,
            running_digest=running,
            previous_digest=self._previous_digest(report.device_id, running),
        )
        self.put(device)
        return device

    def find_report(self, action_id: str) -> ActionReport | None:
        """The last accepted report of an action."""
        query = select(_actions.record).where(_actions.action_id == action_id)
        record = self.connection.execute(query).scalar_one_or_none()
        return None if record is None else decode(ActionReport, record)

    # ---- whether it is there

    def open_session(self, device_id: str) -> int:
        """Count a new Watch of this device; its epoch, greater than that of every session before."""
        row = upsert(schema.sessions).values(device_id=device_id, epoch=1)
        again = row.on_conflict_do_update(index_elements=["device_id"], set_={"epoch": schema.sessions.c.epoch + 1})
        return int(self.connection.execute(again.returning(schema.sessions.c.epoch)).scalar_one())

    def touch(self, last_seen_ms: Mapping[str, int]) -> None:
        """Note when devices were last heard of, in bulk; not an event."""
        if last_seen_ms:
            rows = update(self.table).where(
                _devices.id == bindparam("device"), _devices.last_seen_ms < bindparam("seen")
            )
            values = [{"device": device_id, "seen": seen_ms} for device_id, seen_ms in last_seen_ms.items()]
            self.connection.execute(rows.values(last_seen_ms=bindparam("seen")), values)

    def set_online(self, device_id: str, online: bool) -> None:
        device = self.find(device_id)
        if device is not None and device.online != online:
            self.put(dataclasses.replace(device, online=online))

    def _assignment_of(self, report: ActionReport) -> Assignment:
        assignment = self.find_assignment(report.device_id, report.generation)
        if assignment is None or assignment.action_id != report.action_id:
            raise NotFoundError(
                f"action {report.action_id!r} of generation {report.generation} was not given to {report.device_id!r}"
            )
        return assignment

    def _previous_digest(self, device_id: str, running_digest: str) -> str:
        """The model that was committed last before the running one, empty where there is none."""
        query = (
            select(_actions.model_digest)
            .where(
                _actions.device_id == device_id,
                _actions.state == ActionState.COMMITTED.value,
                _actions.model_digest != running_digest,
            )
            .order_by(_actions.generation.desc())
        )
        return self.connection.execute(query.limit(1)).scalar() or ""
