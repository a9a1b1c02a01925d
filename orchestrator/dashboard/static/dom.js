// Building blocks: elements, badges, and numbers as people read them.

export function element(name, properties = {}, children = []) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

export const text = (content, className = "") => element("span", { textContent: content, className });

export function fill(id, nodes, whenEmpty) {
  const shown = nodes.length ? nodes : [element("p", { className: "empty", textContent: whenEmpty })];
  document.getElementById(id).replaceChildren(...shown);
}

const TONES = {
  good: ["succeeded", "committed", "improved", "online"],
  busy: ["running", "downloading", "verifying", "staged", "activating", "assigned"],
  wait: ["queued", "probation"],
  bad: ["failed", "infeasible", "rolled_back", "halted", "rejected", "offline"],
};

export function badge(word) {
  const tone = Object.keys(TONES).find((key) => TONES[key].includes(word)) ?? "";
  return text(word.replaceAll("_", " "), `badge ${tone}`);
}

export const digest = (sha256) => text(sha256 ? sha256.slice(0, 12) : "none", "digest");

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

export const milliseconds = (us) => (us == null ? "–" : `${(us / 1000).toFixed(2)} ms`);

export function size(bytes) {
  for (const [unit, factor] of [["MB", 1e6], ["kB", 1e3]]) if (bytes >= factor) return `${(bytes / factor).toFixed(1)} ${unit}`;
  return `${bytes} B`;
}

export function ago(ms) {
  const seconds = Math.max(0, Math.round((Date.now() - ms) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return new Date(ms).toLocaleString();
}
