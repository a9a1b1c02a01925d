"""`espalier models export`: a published model as files that other programs read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from edge_agent.errors import EspalierError
from orchestrator.cli.exit_codes import ExitCode
from orchestrator.cli.models import MODELS
from orchestrator.cli.resource import get
from orchestrator.cli.session import CommandError, Session, command

MODEL_SIZE_LIMIT = 8 << 20


def add_export(group: click.Group) -> None:
    @command(group, "export")
    @click.argument("name", metavar="MODEL")
    @click.argument("destination", type=click.Path(path_type=Path))
    @click.option(
        "--as",
        "kind",
        type=click.Choice(["onnx", "files"]),
        default="onnx",
        show_default=True,
        help="One ONNX file in QDQ form, or a folder with the model and its blobs, each named by its SHA-256.",
    )
    async def export(session: Session, name: str, destination: Path, kind: str) -> None:
        """Write a model to DESTINATION. The beginning of its digest is enough.

        Where onnxruntime is installed, an ONNX file is compared with the engine on random inputs.
        """
        digest = str((await get(session, MODELS, name))["sha256"])
        data = await session.client.blobs.get(digest, size_limit=MODEL_SIZE_LIMIT)
        try:
            blobs = await _fetch_blobs(session, data)
            if kind == "files":
                said = await asyncio.to_thread(_write_files, destination, {digest: data, **_by_hex(blobs)})
            else:
                said = await asyncio.to_thread(_write_onnx, destination, data, blobs)
        except OSError as error:
            raise CommandError(f"{destination} cannot be written: {error.strerror}", ExitCode.REFUSED) from error
        except EspalierError as error:
            raise CommandError(f"model {digest}: {error}", ExitCode.FAILURE) from error
        if session.output.is_json:
            document = {"model_sha256": digest, "destination": str(destination), "as": kind, "result": said}
            session.output.document(document)
        else:
            session.output.said(f"{destination}: {said}")


async def _fetch_blobs(session: Session, data: bytes) -> dict[bytes, bytes]:
    from edge_agent.runtime import parse_model

    graph = parse_model(data)
    wanted = [*graph.tensor_blobs, *([graph.golden] if graph.golden else [])]
    return {ref.sha256: await session.client.blobs.get(ref.sha256.hex(), size_limit=ref.size_bytes) for ref in wanted}


def _by_hex(blobs: dict[bytes, bytes]) -> dict[str, bytes]:
    return {sha256.hex(): payload for sha256, payload in blobs.items()}


def _write_files(folder: Path, files: dict[str, bytes]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, payload in files.items():
        (folder / name).write_bytes(payload)
    return f"the model and {len(files) - 1} blob(s)"


def _write_onnx(path: Path, data: bytes, blobs: dict[bytes, bytes]) -> str:
    from orchestrator.onnx.agreement import measure_agreement
    from orchestrator.onnx.errors import OnnxMissingError
    from orchestrator.onnx.export import export_onnx

    onnx_file = export_onnx(data, blobs.__getitem__)
    path.write_bytes(onnx_file)
    try:
        return str(measure_agreement(data, blobs.__getitem__, onnx_file))
    except OnnxMissingError as error:
        return f"{len(onnx_file)} bytes, not compared: {error}"
