// The page: keeps the newest version of every resource that the server sends and draws what changed.
// Names come from devices and operators, so text is only ever set as text, never as markup.
import { element, fill } from "./dom.js";
import { deviceCard } from "./devices.js";
import { decisionCard, jobCard, modelRow, rolloutCard } from "./resources.js";

const SHOWN = { jobs: 6, rollouts: 6, decisions: 8, models: 20 };
const state = { devices: new Map(), jobs: new Map(), rollouts: new Map(), decisions: new Map(), models: new Map() };
const windows = new Map(); // device id -> its last telemetry windows, oldest first
const stale = new Set();

function receive(resource, item) {
  if (resource === "windows") {
    windows.set(item.device_id, item.windows);
    stale.add("devices");
    return;
  }
  state[resource].set(resource === "models" ? item.sha256 : item.id, item);
  stale.add(resource);
  if (resource === "models") stale.add("devices");
  if (resource === "devices") stale.add("models");
}

function newestFirst(resource, time) {
  return [...state[resource].values()].sort((a, b) => b[time] - a[time]).slice(0, SHOWN[resource]);
}

const draw = {
  devices() {
    const devices = [...state.devices.values()].sort((a, b) => a.id.localeCompare(b.id));
    fill("devices", devices.map((d) => deviceCard(d, state.models, windows.get(d.id) ?? [])),
      "No device has called yet. Start one with: espalier-agent run --config agent.toml");
    const online = devices.filter((d) => d.online).length;
    document.getElementById("summary").textContent = devices.length ? `${online} of ${devices.length} devices online` : "";
  },
  jobs() {
    fill("jobs", newestFirst("jobs", "created_at_ms").map(jobCard), "No job yet. Start one with: espalier submit job.yaml");
  },
  rollouts() {
    fill("rollouts", newestFirst("rollouts", "created_at_ms").map(rolloutCard), "No rollout yet.");
  },
  decisions() {
    fill("decisions", newestFirst("decisions", "decided_at_ms").map(decisionCard),
      "No decision yet. Apply a policy with: espalier policies apply policy.yaml");
  },
  models() {
    const devices = [...state.devices.values()];
    const rows = newestFirst("models", "published_at_ms").map((model) => modelRow(model, devices));
    const none = element("tr", {}, [element("td", { colSpan: 8, className: "empty" }, ["No model has been published yet."])]);
    document.getElementById("models").replaceChildren(...(rows.length ? rows : [none]));
  },
};

function redraw() {
  for (const resource of stale) draw[resource]();
  stale.clear();
}

function connection(text, className) {
  const status = document.getElementById("connection");
  status.textContent = text;
  status.className = className;
}

function connect() {
  const source = new EventSource("/api/watch");
  source.addEventListener("snapshot", (event) => {
    for (const items of Object.values(state)) items.clear();
    windows.clear();
    for (const [resource, items] of Object.entries(JSON.parse(event.data))) items.forEach((item) => receive(resource, item));
    Object.keys(draw).forEach((resource) => stale.add(resource));
    connection("live", "live");
  });
  source.addEventListener("change", (event) => {
    const { resource, item } = JSON.parse(event.data);
    receive(resource, item);
  });
  source.addEventListener("status", (event) => {
    const isLive = JSON.parse(event.data).live;
    connection(isLive ? "live" : "control plane does not answer", isLive ? "live" : "lost");
  });
  source.onerror = () => connection("reconnecting", "lost"); // the browser tries again by itself
}

connect();
setInterval(redraw, 250); // many changes, one drawing
setInterval(() => stale.add("devices"), 5000); // "seen ... ago" grows older by itself
