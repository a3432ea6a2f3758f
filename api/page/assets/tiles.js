// The tiles: one number each, its change against the range before, and a sparkline.

import { amount, change, count, el, exact, ms, say, share, usd } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 120, HEIGHT = 28;

/** `worse`: whether more of it is worse, less, or neither. */
const TILES = [
  { id: "requests", title: "Requests", text: (t) => count(t.requests) },
  { id: "cost_usd", title: "Cost", unit: "USD", text: (t) => usd(t.cost_usd), note: (t) => (t.cost_coverage === null ? "" : t.cost_coverage < 1 ? `${share(Math.min(t.cost_coverage, 0.9999))} priced` : "all priced"), warn: (t) => t.cost_coverage !== null && t.cost_coverage < 1 },
  { id: "input_tokens", title: "Tokens in", text: (t) => count(t.input_tokens) },
  { id: "output_tokens", title: "Tokens out", text: (t) => count(t.output_tokens) },
  { id: "cache_read_tokens", title: "Cached", text: (t) => count(t.cache_read_tokens), note: (t) => (t.cache_hit_share === null ? "" : `${share(t.cache_hit_share)} of input`) },
  { id: "error_rate", title: "Error rate", unit: "share", text: (t) => share(t.error_rate), note: (t) => `${count(t.errors)} failed`, worse: "more" },
  { id: "p95_latency_ms", or: "avg_latency_ms", title: "Latency p95", orTitle: "Mean latency", unit: "ms", text: (t) => ms("p95_latency_ms" in t ? t.p95_latency_ms : t.avg_latency_ms), note: (t) => ("p50_latency_ms" in t ? `p50 ${ms(t.p50_latency_ms)}` : ""), worse: "more" },
  { id: "p95_first_output_ms", or: "avg_first_output_ms", title: "First output p95", orTitle: "Mean first output", unit: "ms", text: (t) => ms("p95_first_output_ms" in t ? t.p95_first_output_ms : t.avg_first_output_ms), note: (t) => ("p50_first_output_ms" in t ? `p50 ${ms(t.p50_first_output_ms)}` : ""), worse: "more" },
  { id: "calls", title: "Calls", text: (t) => count(t.calls), voice: true },
  { id: "call_minutes", title: "Call minutes", text: (t) => count(t.call_minutes), voice: true },
  { id: "tts_characters", title: "TTS characters", text: (t) => count(t.tts_characters), voice: true },
  { id: "stt_audio_minutes", title: "STT minutes", text: (t) => count(t.stt_audio_minutes), voice: true },
];

const made = new Map();

/** `pairs`: [totals, series, buckets] of usage and of calls, each only if it was asked. */
export function showTiles(root, pairs) {
  if (!made.size) build(root);
  const shown = new Set();
  for (const [totals, series, buckets] of pairs) if (totals && series) showSome(totals, series, buckets, shown);
  for (const [id, parts] of made) parts.root.hidden = !shown.has(id);
}

function showSome(totals, series, buckets, shown) {
  const now = totals.totals, before = totals.previous?.totals;
  const byTime = new Map(series.rows.map((row) => [Date.parse(row.time), row]));
  for (const tile of TILES) {
    const parts = made.get(tile.id);
    const id = tile.id in now ? tile.id : tile.or;
    if (!(id in now)) continue;
    const isShown = !tile.voice || Boolean(now[id]) || Boolean(before?.[id]);
    if (isShown) shown.add(tile.id);
    if (!isShown) continue;
    say(parts.title, id === tile.id ? tile.title : tile.orTitle);
    say(parts.value, tile.text(now));
    parts.value.title = exact(now[id], totals.measures[id]);
    say(parts.note, tile.note?.(now) ?? "");
    parts.note.classList.toggle("warn", Boolean(tile.warn?.(now)));
    showChange(parts.change, before ? change(now[id], before[id]) : null, tile.worse, before && `${amount(before[id], totals.measures[id])} before`);
    const isSum = !tile.unit || tile.unit === "USD";
    spark(parts, buckets.starts.map((at) => byTime.get(at)?.[id] ?? (isSum && !byTime.has(at) ? 0 : null)), buckets.unfinished);
  }
}

function build(root) {
  for (const tile of TILES) {
    const title = el("h2", {}, tile.title), value = el("p", { class: "value" }), note = el("span", { class: "note" }), change = el("span", { class: "change" });
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const area = svg.appendChild(document.createElementNS(SVG, "path")), line = svg.appendChild(document.createElementNS(SVG, "path")), open = svg.appendChild(document.createElementNS(SVG, "path"));
    area.setAttribute("class", "area");
    line.setAttribute("class", "line");
    open.setAttribute("class", "line open");
    const article = el("article", { class: "tile" }, title, value, el("p", { class: "under" }, change, note), svg);
    made.set(tile.id, { root: article, title, value, note, change, area, line, open });
    root.append(article);
  }
}

function showChange(element, part, worse, title) {
  element.hidden = part === null;
  if (part === null) return;
  const percent = Math.abs(part) * 100;
  say(element, `${part > 0 ? "↑" : part < 0 ? "↓" : "="} ${percent >= 1000 ? "×" + count(part + 1) : percent.toFixed(percent < 10 ? 1 : 0) + "%"}`);
  element.className = `change ${worse === "more" && part !== 0 ? (part > 0 ? "bad" : "good") : ""}`;
  element.title = title;
}

/** The line ends where buckets are not finished; from there it is dotted. */
function spark(parts, values, unfinished) {
  const known = values.filter((value) => value !== null);
  const high = Math.max(...known, 0) || 1;
  const x = (n) => (values.length < 2 ? 0 : (n / (values.length - 1)) * WIDTH);
  const y = (value) => HEIGHT - 2 - (value / high) * (HEIGHT - 5);
  const path = (from, to) => {
    let text = "", isOpen = false;
    for (let n = Math.max(0, from); n < to; n++) {
      if (values[n] === null) { isOpen = false; continue; }
      text += `${isOpen ? "L" : "M"}${x(n).toFixed(1)} ${y(values[n]).toFixed(1)}`;
      isOpen = true;
    }
    return text;
  };
  const end = Math.max(1, values.length - unfinished);
  const line = path(0, end);
  parts.line.setAttribute("d", line);
  parts.open.setAttribute("d", unfinished ? path(end - 1, values.length) : "");
  const isWhole = known.length === values.length && line;
  parts.area.setAttribute("d", isWhole ? `${line}L${x(end - 1).toFixed(1)} ${HEIGHT}L0 ${HEIGHT}Z` : "");
}
