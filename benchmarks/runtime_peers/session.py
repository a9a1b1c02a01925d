"""Runs everything that was asked for and gathers what came out, as plain data that reports and pictures read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from runtime_peers import conversions, environments, measure, roofline
from runtime_peers.catalogue import LAYERS, OURS, OWN, PEERS, TILE_PATH, Peer
from runtime_peers.conversions import ConversionError
from runtime_peers.environments import RUNTIME_PACKAGES, BuildError
from runtime_peers.measure import Candidate, Effort, WorkerError
from runtime_peers.roofline import RooflineError
from runtime_peers.tiles import NO_TILES, cpu_has_tiles

Say = Callable[[str], None]


def run(networks: Sequence[str], peer_names: Sequence[str], effort: Effort, say: Say) -> dict[str, Any]:
    """The whole benchmark. What fails is in the result with its error, never left out."""
    cpus = sorted(os.sched_getaffinity(0))
    one, two = [cpus[-1]], cpus[-2:]
    # The measuring process itself keeps off the measured CPU where there is another.
    os.sched_setaffinity(0, cpus[:-1] or cpus)
    pythons, failed = _build(peer_names, say)
    peers = {
        name: peer
        for name, peer in (OWN | PEERS).items()
        if name in peer_names and peer.environment in pythons and (peer.path != NO_TILES or cpu_has_tiles())
    }
    peers |= _other_paths(peers, pythons)
    result: dict[str, Any] = {
        "time_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": roofline.cpu_name(),
        "roofline": _roofline(one[0], say),
        "failed": failed,
        "networks": {},
        "disk": _weigh(peers, pythons),
    }
    for network in networks:
        say(f"== {network}")
        candidates, refused = _convert(network, peers, pythons, say)
        whole = [candidate for candidate in candidates if "@" not in candidate.name]  # other paths need no more
        entry: dict[str, Any] = {
            "one_thread": _plain(measure.compare(candidates, 1, one, effort, say)) | refused,
            "two_threads": _plain(measure.compare(whole, 2, two, effort, say)) if len(two) == 2 else {},
            "cold_start": _cold_starts(whole, one, effort, say),
            "model_bytes": {c.name: conversions.model_bytes(c.folder, c.name in OWN) for c in whole},
        }
        result["networks"][network] = entry
    result["layers"] = _layers(peers, pythons, one, effort, say)
    return result


def _layers(
    peers: dict[str, Peer], pythons: dict[str, Path], cpus: Sequence[int], effort: Effort, say: Say
) -> dict[str, dict[str, Any]]:
    """Our own variants of single layers."""
    own = {name: peer for name, peer in peers.items() if name.partition("@")[0] in OWN}
    layers = {}
    for layer in LAYERS if len(own) > 1 else ():
        say(f"== {layer}")
        candidates, refused = _convert(layer, own, pythons, say)
        layers[layer] = {"one_thread": _plain(measure.compare(candidates, 1, cpus, effort, say)) | refused}
    return layers


def _build(peer_names: Sequence[str], say: Say) -> tuple[dict[str, Path], dict[str, str]]:
    """Python by environment, and the error by peer where its environment could not be built."""
    pythons: dict[str, Path] = {}
    errors: dict[str, str] = {}
    wanted = {name: (OWN | PEERS)[name].environment for name in peer_names}
    for environment in dict.fromkeys(wanted.values()):
        try:
            pythons[environment] = environments.ensure(environment, say)
        except BuildError as error:
            errors[environment] = f"not installed: {error}"
    return pythons, {name: errors[environment] for name, environment in wanted.items() if environment in errors}


def _other_paths(peers: dict[str, Peer], pythons: dict[str, Path]) -> dict[str, Peer]:
    """Our int8 once more for every compiled path but the best; where that uses tiles, all variants on the next one."""
    if OURS not in peers:
        return {}
    best, *others = environments.engine_paths(pythons[peers[OURS].environment])
    own = {name: peer for name, peer in peers.items() if name in OWN}
    rows = {f"{OURS}@{path}": replace(OWN[OURS], path=path) for path in others if path != "reference"}
    if best == TILE_PATH:
        rows |= {f"{name}@{others[0]}": replace(peer, path=others[0]) for name, peer in own.items()}
    return rows


def _roofline(cpu: int, say: Say) -> dict[str, float]:
    say("measuring the roofline")
    try:
        return roofline.measure(cpu)
    except RooflineError as error:
        say(str(error))
        return {}


def _convert(
    network: str, peers: dict[str, Peer], pythons: dict[str, Path], say: Say
) -> tuple[list[Candidate], dict[str, dict[str, str]]]:
    candidates, refused = [], {}
    for name, peer in peers.items():
        python = pythons[peer.environment]
        try:
            folder = conversions.ensure(network, peer, python, say)
            candidates.append(Candidate(name, peer, python, folder))
        except ConversionError as error:
            refused[name] = {"error": f"not converted: {error}"}
            say(f"{name} on {network}: not converted: {error}")
    return candidates, refused


def _cold_starts(candidates: Sequence[Candidate], cpus: Sequence[int], effort: Effort, say: Say) -> dict[str, Any]:
    starts: dict[str, Any] = {}
    for candidate in candidates:
        say(f"cold start of {candidate.name}")
        try:
            starts[candidate.name] = asdict(measure.cold_start(candidate, cpus, effort))
        except WorkerError as error:
            starts[candidate.name] = {"error": str(error)}
    return starts


def _weigh(peers: dict[str, Peer], pythons: dict[str, Path]) -> dict[str, dict[str, int]]:
    modules = {peer.module: pythons[peer.environment] for peer in peers.values()}
    return {module: environments.weigh(python, RUNTIME_PACKAGES[module]) for module, python in modules.items()}


def _plain(results: dict[str, measure.Result]) -> dict[str, Any]:
    return {name: {"error": r.error} if r.error else asdict(r) for name, r in results.items()}
