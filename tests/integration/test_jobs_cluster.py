"""The embedded Ray head: warm for the next job, loopback only, and nothing but our own is ever signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.jobs.cluster import ClusterSize, EmbeddedCluster
from orchestrator.jobs.processes import ProcessIdentity, wait_until_gone

pytestmark = pytest.mark.ray


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EmbeddedCluster]:
    cluster = EmbeddedCluster(tmp_path, ClusterSize(cpus=2, object_store_bytes=80 << 20))
    yield cluster
    cluster.stop()


def listening_addresses(pids: set[int]) -> set[str]:
    """Local addresses, in the kernel's hex, of the TCP sockets that these processes listen on."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(link) if link.is_symlink() else ""
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    addresses = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                addresses.add(fields[1].split(":")[0])
    return addresses


def test_a_head_is_reused_listens_on_loopback_only_and_leaves_nothing_behind(cluster: EmbeddedCluster) -> None:
    head = cluster.start()
    members = head.members()
    assert cluster.start() == head
    assert len(members) > 3
    assert listening_addresses({member.pid for member in members}) == {
        "0100007F",  # 127.0.0.1
        "0000000000000000FFFF00000100007F",  # ::ffff:127.0.0.1
    }
    assert cluster.token_path.stat().st_mode & 0o077 == 0

    assert cluster.stop()
    assert not any(member.is_alive() for member in members)
    assert not Path(head.temp_dir).exists()
    assert cluster.current() is None
    assert not cluster.stop()


def test_after_its_head_was_killed_the_rest_is_reaped_and_a_new_one_starts(cluster: EmbeddedCluster) -> None:
    head = cluster.start()
    members = head.members()
    head.leader.signal(signal.SIGKILL)
    assert wait_until_gone([head.leader], 10.0)
    assert cluster.current() is None

    after = cluster.start()
    assert after.leader != head.leader
    assert not any(member.is_alive() for member in members)
    assert after.is_alive()


def test_a_stranger_with_a_recorded_process_id_is_not_touched(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """A record from before a reboot, or of an id that was handed out again, names nobody."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as stranger:
        identity = ProcessIdentity.of(stranger.pid)
        assert identity is not None
        record = tmp_path / "ray" / "head.json"
        record.parent.mkdir()
        record.write_text(
            f'{{"address": "127.0.0.1:1", "temp_dir": "/nonexistent/espalier-ray-x", "mark": "{"0" * 32}", "leader": '
            f'{{"pid": {stranger.pid}, "start_ticks": {identity.start_ticks - 1}, "boot_id": "{identity.boot_id}"}}}}'
        )
        assert cluster.stop()
        assert identity.is_alive()
        stranger.communicate(b"\n")
