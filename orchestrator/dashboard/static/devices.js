// A device: what it runs, how well, and how that went over the last minutes.
import { accuracyChart } from "./chart.js";
import { ago, badge, digest, element, milliseconds, percent, text } from "./dom.js";

const RECENT_MS = 60_000;

export function deviceCard(device, models, windows) {
  const model = models.get(device.running_model_sha256);
  const busy = device.action_state && !["committed", "idle"].includes(device.action_state);
  const card = element("article", { className: "card" }, [
    element("div", { className: "row" }, [
      element("h3", { textContent: device.id }),
      element("span", {}, [busy ? badge(device.action_state) : "", " ", badge(device.online ? "online" : "offline")]),
    ]),
    text(describe(device), "soft"),
    element("div", { className: "row" }, [
      element("span", {}, [text(`${model?.name ?? "model"} `), digest(device.running_model_sha256)]),
      text(model?.lineage?.candidate ?? "", "soft"),
    ]),
    figures(windows.filter((w) => w.model_sha256 === device.running_model_sha256)),
    accuracyChart(windows),
  ]);
  if (device.action_state === "probation" && device.pairs) card.append(text(probation(device.pairs), "soft"));
  else if (busy && device.action_detail) card.append(text(device.action_detail, "soft"));
  return card;
}

function describe(device) {
  const facts = device.facts ?? {};
  const parts = [`class ${facts.device_class || "unknown"}`, `engine ${facts.engine_path || "unknown"}`];
  if (facts.latency_p95_limit_ms) parts.push(`p95 ≤ ${facts.latency_p95_limit_ms} ms`);
  if (!device.online) parts.push(`seen ${ago(device.last_seen_ms)}`);
  return parts.join(" · ");
}

// The newest minute of the running model: shares are of counts summed, p95 is the worst window's.
function figures(windows) {
  const newest = windows.at(-1)?.end_ms ?? 0;
  const recent = windows.filter((w) => w.end_ms > newest - RECENT_MS);
  const sum = (field) => recent.reduce((total, w) => total + w[field], 0);
  const seconds = recent.length ? Math.max(1, (newest - recent[0].start_ms) / 1000) : 1;
  const p95 = recent.map((w) => w.engine_p95_us).filter((value) => value != null);
  const labelled = sum("labelled");
  return element("div", { className: "figures" }, [
    figure(labelled ? percent(sum("labelled_correct") / labelled) : "–", `accuracy, ${labelled} labelled`),
    figure(milliseconds(p95.length ? Math.max(...p95) : null), "engine p95"),
    figure(recent.length ? `${(sum("requests") / seconds).toFixed(1)} /s` : "–", "requests"),
  ]);
}

function figure(value, meaning) {
  return element("div", {}, [element("b", { textContent: value }), text(meaning)]);
}

function probation(pairs) {
  const both = pairs.only_new_correct + pairs.only_old_correct;
  return `old and new side by side: ${pairs.pairs} pairs, ${pairs.agreements} agree; of ${both} that differ with a label, ` +
    `new is right in ${pairs.only_new_correct}, old in ${pairs.only_old_correct}`;
}
