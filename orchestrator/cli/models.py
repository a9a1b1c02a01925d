"""`espalier models`: what has been published."""

from __future__ import annotations

import click
from rich.table import Table

from orchestrator.cli.output import Column, Row, table
from orchestrator.cli.resource import Resource, add_list, add_show, add_watch
from orchestrator.cli.words import ago, milliseconds, percent, short, size, when


@click.group()
def models() -> None:
    """Published models: list, show, watch, export; and the fronts they were chosen from."""


def _accuracy(model: Row) -> str:
    certificate = model["certificate"]
    if not certificate or not certificate["samples"]:
        return "-"
    return percent(certificate["correct"] / certificate["samples"])


def _candidate(model: Row) -> str:
    return model["lineage"]["candidate"] if model["lineage"] else "-"


def _fields(model: Row) -> list[tuple[str, str]]:
    fields = [
        ("model", model["sha256"]),
        ("name", model["name"]),
        ("size", size(model["size_bytes"])),
        ("published", when(model["published_at_ms"])),
        ("job", model["job_id"] or "-"),
        ("candidate", _candidate(model)),
        ("certified accuracy", _accuracy(model)),
    ]
    if model["certificate"] and model["certificate"]["samples"]:
        certificate = model["certificate"]
        teacher = percent(certificate["teacher_correct"] / certificate["samples"])
        drop = percent(certificate["accuracy_drop_upper_95"])
        fields.append(
            ("teacher", f"{teacher} on the same {certificate['samples']} samples; at most {drop} better (95 %)")
        )
        fields += _certificate_fields(certificate)
    if model["lineage"]:
        fields += _lineage_fields(model["lineage"])
    if model["rules"]:
        fields.append(("rules", _rules(model["rules"])))
    return fields


def _lineage_fields(lineage: Row) -> list[tuple[str, str]]:
    fields = []
    if lineage["network_sha256"]:
        fields.append(("float network", lineage["network_sha256"]))
    if lineage["made_on"] or lineage["cpu_model"]:
        fields.append(("made on", _made_on(lineage)))
    if lineage["parent_model_sha256"]:
        fields.append(("made to replace", lineage["parent_model_sha256"]))
    return fields


def _made_on(lineage: Row) -> str:
    """A line for all stages that were computed on the same; older lineages tell of the last stage alone."""
    if not lineage["made_on"]:
        return _machine(lineage)
    stages: dict[str, list[str]] = {}
    for entry in lineage["made_on"]:
        stages.setdefault(_machine(entry), []).append(entry["stage"])
    return "\n".join(f"{', '.join(names)}: {machine}" for machine, names in stages.items())


def _machine(made: Row) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(made["versions"].items()))
    return f"{made['cpu_model'] or 'unnamed CPU'}, {made['threads']} thread(s), {versions}"


def _certificate_fields(certificate: Row) -> list[tuple[str, str]]:
    """What certificates state since they do; older ones leave it out."""
    fields = []
    if worst := certificate["worst_class"]:
        told = f"{worst['label']}: {_compared(worst['counts'])}; no class lost more than "
        fields.append(("worst class", f"{told}{percent(worst['accuracy_drop_upper_95'])} (95 %)"))
    if corrupted := certificate["corrupted"]:
        told = f"{corrupted['corruption']}: {_compared(corrupted['counts'])}; at most "
        fields.append(("corrupted", f"{told}{percent(corrupted['accuracy_drop_upper_95'])} lost (95 %)"))
    if certificate["data_sha256"]:
        splits = ", ".join(f"{s['name']} {s['samples']} ({short(s['sha256'])})" for s in certificate["splits"])
        fields.append(("data", f"{short(certificate['data_sha256'])}: {splits}; seed {certificate['seed']}"))
    return fields


def _compared(counts: Row) -> str:
    correct, teacher = (percent(counts[name] / counts["samples"]) for name in ("correct", "teacher_correct"))
    return f"{correct} of {counts['samples']}, the teacher {teacher}"


def _rules(rules: Row) -> str:
    words = f"{rules['rules']} in {rules['trees']} tree(s), {size(rules['table_bytes'])}"
    words += f"; as the network on {percent(rules['fidelity'])} of held-out samples"
    if rules["in_front_of_network"]:
        lost = f"{percent(rules['accuracy_drop'])} (at most {percent(rules['accuracy_drop_upper'])})"
        words += f"; answer {percent(rules['answered'])} before the network and lose {lost}"
    return words


RULE_COLUMNS = (Column("rules", lambda line: line["text"]),)

MEASUREMENT_COLUMNS = (
    Column("device class", lambda m: m["device_class"]),
    Column("engine", lambda m: m["engine_path"]),
    Column("p50", lambda m: milliseconds(m["latency_p50_us"]), is_number=True),
    Column("p95", lambda m: milliseconds(m["latency_p95_us"]), is_number=True),
    Column("runs", lambda m: str(m["runs"]), is_number=True),
    Column("RAM", lambda m: size(m["peak_ram_bytes"]), is_number=True),
    Column(
        "measured on", lambda m: "the control plane: no device of the class" if m["on_control_plane"] else "a device"
    ),
)


def _details(model: Row) -> list[Table]:
    shown = [table(model["measurements"], MEASUREMENT_COLUMNS)] if model["measurements"] else []
    if model["rules"]:
        lines = [{"text": line} for line in model["rules"]["text"].splitlines()]
        shown.append(table(lines, RULE_COLUMNS))
    return shown


MODELS = Resource(
    plural="models",
    item="model",
    key="sha256",
    columns=(
        Column("model", lambda m: short(m["sha256"])),
        Column("name", lambda m: m["name"]),
        Column("candidate", _candidate),
        Column("accuracy", _accuracy, is_number=True),
        Column("size", lambda m: size(m["size_bytes"]), is_number=True),
        Column("job", lambda m: m["job_id"] or "-"),
        Column("published", lambda m: ago(m["published_at_ms"])),
    ),
    fields=_fields,
    details=_details,
)
add_list(models, MODELS)
add_show(models, MODELS)
add_watch(models, MODELS)
