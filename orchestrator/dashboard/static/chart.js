// Labelled accuracy over time with its 95 % interval (Wilson), and where the model changed.
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 400, HEIGHT = 74, BUCKETS = 40, Z = 1.96, FEWEST = 10;

export function accuracyChart(windows) {
  const labelled = windows.filter((w) => w.labelled > 0);
  const box = document.createElement("div");
  if (labelled.length < 2) return box;
  const start = labelled[0].start_ms, end = labelled.at(-1).end_ms;
  const points = buckets(labelled, start, end);
  if (points.length < 2) return box;
  const floor = Math.floor(10 * Math.min(...points.map((p) => p.low))) / 10;
  const x = (ms) => ((ms - start) / Math.max(1, end - start)) * WIDTH;
  const y = (share) => HEIGHT - ((share - floor) / (1 - floor || 1)) * HEIGHT;
  const path = (share) => points.map((p) => `${x(p.at).toFixed(1)},${y(p[share]).toFixed(1)}`);
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const last = points.at(-1);
  chart.append(svg("title", {}, `labelled accuracy, now ${(100 * last.share).toFixed(1)} %`));
  for (const share of [floor, (1 + floor) / 2, 1]) chart.append(svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: y(share), y2: y(share) }));
  chart.append(svg("polygon", { class: "band", points: [...path("high"), ...path("low").reverse()].join(" ") }));
  chart.append(svg("polyline", { class: "line", points: path("share").join(" ") }));
  for (const at of changes(labelled)) chart.append(svg("line", { class: "change", x1: x(at), x2: x(at), y1: 0, y2: HEIGHT }));
  const axis = document.createElement("div");
  axis.className = "axis";
  for (const words of [`${Math.round(100 * floor)}–100 %`, `${new Date(start).toLocaleTimeString()} to ${new Date(end).toLocaleTimeString()}`]) {
    axis.append(Object.assign(document.createElement("span"), { textContent: words }));
  }
  box.append(chart, axis);
  return box;
}

function buckets(windows, start, end) {
  const width = Math.max(1, (end - start) / BUCKETS);
  const sums = new Map();
  for (const w of windows) {
    const index = Math.min(BUCKETS - 1, Math.floor(((w.start_ms + w.end_ms) / 2 - start) / width));
    const sum = sums.get(index) ?? { correct: 0, count: 0 };
    sum.correct += w.labelled_correct;
    sum.count += w.labelled;
    sums.set(index, sum);
  }
  const telling = [...sums].filter(([, sum]) => sum.count >= FEWEST);
  return telling.sort((a, b) => a[0] - b[0]).map(([index, { correct, count }]) => {
    const share = correct / count, scale = 1 + Z * Z / count;
    const centre = share + Z * Z / (2 * count);
    const half = Z * Math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count));
    return { at: start + (index + 0.5) * width, share, low: (centre - half) / scale, high: (centre + half) / scale };
  });
}

function changes(windows) {
  return windows.filter((w, i) => i > 0 && w.model_sha256 !== windows[i - 1].model_sha256).map((w) => w.start_ms);
}

function svg(name, attributes, content = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = content;
  return node;
}
