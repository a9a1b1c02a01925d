// Jobs, rollouts, decisions and models.
import { ago, badge, digest, element, milliseconds, percent, size, text } from "./dom.js";

export function jobCard(job) {
  const isOver = !["queued", "running"].includes(job.state);
  const children = [
    element("div", { className: "row" }, [element("h3", { textContent: job.name }), badge(job.state)]),
    text(`${job.stage && !isOver ? `${job.stage} · ` : ""}${job.message || `submitted ${ago(job.created_at_ms)}`}`, "soft"),
  ];
  if (!isOver) children.push(element("progress", { max: 1, value: job.progress }));
  if (job.decision_id) children.push(text("started by a decision of the loop", "soft"));
  if (job.candidates.length) children.push(element("div", { className: "candidates" }, job.candidates.map(candidateLine)));
  return element("article", { className: "card" }, children);
}

function candidateLine(candidate) {
  const p95 = candidate.measurements.map((m) => `${m.device_class} ${milliseconds(m.latency_p95_us)}`).join(", ");
  const chosen = candidate.chosen_for.length ? [text(`for ${candidate.chosen_for.join(", ")}`, "badge good")] : [];
  const figures = `${percent(candidate.accuracy)} · ${size(candidate.model_bytes)}${p95 ? ` · p95 ${p95}` : ""}`;
  return element("div", { className: "row", title: candidate.verdict }, [
    element("span", {}, [text(`${candidate.name} `), ...chosen]),
    text(candidate.model_sha256 ? figures : "could not be made", "soft"),
  ]);
}

export function rolloutCard(rollout) {
  return element("article", { className: "card" }, [
    element("div", { className: "row" }, [element("h3", { textContent: rollout.model_name }), badge(rollout.state)]),
    text(rollout.message || `started ${ago(rollout.created_at_ms)}`, "soft"),
    element("div", { className: "waves" }, rollout.waves.map((wave) => waveOf(wave, rollout))),
  ]);
}

function waveOf(wave, rollout) {
  const states = wave.devices.map((d) => d.state);
  const isDone = states.length > 0 && states.every((s) => s === "committed");
  const isStopped = states.some((s) => ["rolled_back", "failed", "rejected"].includes(s));
  const isNow = !isDone && !isStopped && rollout.state === "running" && wave.devices.some((d) => d.generation > 0);
  const tone = isStopped ? "stopped" : isDone ? "done" : isNow ? "now" : "";
  return element("div", { className: `wave ${tone}` }, [
    text(`${wave.name}: must show “${wave.gate.replaceAll("_", " ")}”`, "soft"),
    ...wave.devices.map((device) =>
      element("div", {}, [
        element("div", { className: "row" }, [
          element("span", {}, [text(`${device.device_id} `), digest(device.model_sha256)]),
          device.generation ? badge(device.state || "assigned") : badge("waits"),
        ]),
        text(device.verdict, "soft"),
      ])),
  ]);
}

export function decisionCard(decision) {
  return element("article", { className: "card" }, [
    element("div", { className: "row" }, [
      element("h3", { textContent: decision.action.replaceAll("_", " ") }),
      badge(decision.outcome),
    ]),
    text(`${decision.device_id} · policy ${decision.policy} · ${ago(decision.decided_at_ms)}`, "soft"),
    element("p", { textContent: decision.reason }),
  ]);
}

export function modelRow(model, devices) {
  const certificate = model.certificate;
  const accuracy = certificate?.samples
    ? `${percent(certificate.correct / certificate.samples)} of ${certificate.samples}` : "–";
  const p95 = model.measurements.map((m) => `${m.device_class} ${milliseconds(m.latency_p95_us)}`).join(", ");
  const users = devices.filter((d) => d.running_model_sha256 === model.sha256).map((d) => d.id).sort().join(", ");
  const cells = [
    element("td", { title: model.sha256 }, [digest(model.sha256)]),
    element("td", { textContent: model.name }),
    element("td", { textContent: model.lineage?.candidate ?? "" }),
    element("td", { className: "number", textContent: accuracy }),
    element("td", { className: "number", textContent: size(model.size_bytes) }),
    element("td", { textContent: p95 }),
    element("td", { textContent: users }),
    element("td", { textContent: ago(model.published_at_ms) }),
  ];
  return element("tr", {}, cells);
}
