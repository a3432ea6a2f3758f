// Charts: stacked bars of a sum by a dimension, or lines. Each is also a table and a sentence.

import { amount, el, exact, MISSING, name, when } from "./format.js";

const PATTERNS = ["solid", "rise", "fall", "dots", "across", "down", "grid", "steps"];

/** The buckets of an answer: their starts, and how many are not finished at `complete`. */
export function bucketsOf(answer, complete) {
  const from = Date.parse(answer.range.from), to = Date.parse(answer.range.to);
  const seen = [...new Set(answer.rows.map((row) => Date.parse(row.time)))];
  const length = LENGTHS[answer.granularity];
  let starts = seen;
  if (length) {
    starts = [];
    const first = seen.length ? Math.min(...seen) : from;
    for (let at = first - Math.floor((first - from) / length) * length; at < to; at += length) starts.push(at);
  }
  starts = [...new Set([...starts, ...seen])].sort((a, b) => a - b);
  const ends = starts.map((_, n) => starts[n + 1] ?? Math.max(to, starts[n] + (length ?? 0)));
  const unfinished = complete ? ends.filter((end) => end > complete).length : 0;
  return { starts, ends, unfinished, length: length ?? (ends[0] - starts[0] || 60_000) };
}
const LENGTHS = { "1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000, "1d": 86_400_000, "1w": 604_800_000 };

/** Groups of an answer with their values by bucket, largest first, `other` last. */
export function groupsOf(answer, measure, dimension, buckets, isSum) {
  const places = new Map(buckets.starts.map((at, n) => [at, n]));
  const groups = new Map();
  for (const row of answer.rows) {
    const key = row.other ? null : row[dimension];
    if (!groups.has(key)) groups.set(key, { key, title: row.other ? "other" : name(key, dimension), values: buckets.starts.map(() => (isSum ? 0 : null)), total: 0 });
    const group = groups.get(key);
    const value = row[measure];
    group.values[places.get(Date.parse(row.time))] = value;
    group.total += value ?? 0;
  }
  return [...groups.values()].sort((a, b) => (a.key === null) - (b.key === null) || b.total - a.total || (a.title < b.title ? -1 : 1));
}

export class Chart {
  /** `onZoom(from, to)` in ms, `onPick(group)`. */
  constructor(root, legend, { onZoom, onPick, height }) {
    Object.assign(this, { root, legend, onZoom, onPick, height });
    this.tip = root.appendChild(el("div", { class: "tip", hidden: true, "aria-hidden": "true" }));
    this.watch = new ResizeObserver(() => this.plot?.setSize({ width: root.clientWidth, height: this.height() }));
    this.watch.observe(root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#again());
  }

  /** `view`: { groups, buckets, unit, isStacked, zone, unpriced } */
  show(view) {
    this.view = view;
    const form = JSON.stringify([view.groups.map((group) => group.key), view.isStacked, view.zone, view.unit, view.buckets.length]);
    const data = this.#data();
    if (form === this.form && this.plot) this.plot.setData(data);
    else this.#make(form, data);
    this.#showLegend();
  }

  #again() {
    if (!this.view) return;
    this.form = "";
    this.show(this.view);
  }

  #data() {
    const { groups, buckets, isStacked } = this.view;
    const times = buckets.starts.map((at) => at / 1000);
    if (!isStacked) return [times, ...groups.map((group) => group.values)];
    const sums = times.map(() => 0);
    const stacked = groups.map((group) => group.values.map((value, n) => (sums[n] += value ?? 0)));
    return [times, ...stacked.reverse()]; // the highest is drawn first, the others over it
  }

  #make(form, data) {
    this.form = form;
    this.plot?.destroy();
    const { groups, isStacked, unit, zone } = this.view;
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--faint").trim(), line = style.getPropertyValue("--line").trim(), font = "11px system-ui, sans-serif";
    this.colours = groups.map((group, n) => style.getPropertyValue(group.key === null ? "--series-other" : `--series-${n % 8}`).trim());
    const shown = groups.map((group, n) => ({ group, colour: this.colours[n], fill: pattern(this.colours[n], group.key === null ? "solid" : PATTERNS[n % 8]) }));
    const series = (isStacked ? [...shown].reverse() : shown).map(({ group, colour, fill }) => ({
      label: group.title,
      stroke: isStacked ? null : colour,
      width: isStacked ? 0 : 1.75,
      fill: isStacked ? fill : null,
      points: { show: false },
      paths: isStacked ? uPlot.paths.bars({ size: [0.86, 40], align: 1, gap: 1 }) : uPlot.paths.linear(),
      spanGaps: false,
    }));
    const axis = { stroke: ink, font, ticks: { show: false }, grid: { stroke: line, width: 1 } };
    this.plot = new uPlot(
      {
        width: this.root.clientWidth || 600,
        height: this.height(),
        padding: [8, 8, 0, 0],
        legend: { show: false },
        tzDate: (s) => uPlot.tzDate(new Date(s * 1000), zone),
        cursor: { y: false, points: { show: !isStacked }, drag: { x: true, y: false, setScale: false } },
        scales: { x: { time: true, range: () => this.#range() }, y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.06 : 1] } },
        axes: [
          { ...axis, size: 30, grid: { show: false }, values: (_plot, ticks) => ticks.map((s, n) => this.#tick(s * 1000, n ? ticks[n - 1] * 1000 : null)), space: 72 },
          { ...axis, size: 58, values: (_plot, ticks) => ticks.map((value) => amount(value, unit)) },
        ],
        series: [{}, ...series],
        hooks: { draw: [(plot) => this.#hatch(plot)], setSelect: [(plot) => this.#zoom(plot)], setCursor: [(plot) => this.#showTip(plot)] },
      },
      data,
      this.root,
    );
    this.plot.over.addEventListener("click", (event) => this.#pick(event));
  }

  #range() {
    const { starts, ends } = this.view.buckets;
    return starts.length ? [starts[0] / 1000, ends[ends.length - 1] / 1000] : [0, 1];
  }

  #tick(at, before) {
    const { zone, buckets } = this.view;
    if (buckets.length >= 86_400_000) return when(at, zone, "date");
    const day = when(at, zone, "date");
    return before === null || day !== when(before, zone, "date") ? (when(at, zone, "clock") === "00:00" || before !== null ? day : when(at, zone, "clock")) : when(at, zone, "clock");
  }

  /** Buckets that are not finished, and usage without a price: hatched, never 0. */
  #hatch(plot) {
    const { buckets, unpriced } = this.view, context = plot.ctx, { top, height } = plot.bbox;
    const style = getComputedStyle(document.documentElement), place = (at) => plot.valToPos(at / 1000, "x", true);
    context.save();
    const first = buckets.starts.length - buckets.unfinished;
    if (buckets.unfinished && buckets.starts.length) {
      const left = place(buckets.starts[first]), right = place(buckets.ends.at(-1));
      context.fillStyle = stripes(style.getPropertyValue("--hatch").trim());
      context.fillRect(left, top, right - left, height);
    }
    if (unpriced) {
      context.fillStyle = stripes(style.getPropertyValue("--warn").trim());
      const high = Math.round(10 * devicePixelRatio);
      unpriced.forEach((part, n) => {
        if (!part) return;
        const left = place(buckets.starts[n]), right = place(buckets.ends[n]), total = this.view.groups.reduce((sum, group) => sum + (group.values[n] ?? 0), 0);
        context.fillRect(left, Math.max(top, plot.valToPos(total, "y", true) - high), (right - left) * 0.86, high);
      });
    }
    context.restore();
  }

  #zoom(plot) {
    if (plot.select.width < 6) return;
    const from = plot.posToVal(plot.select.left, "x") * 1000, to = plot.posToVal(plot.select.left + plot.select.width, "x") * 1000;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    const { starts, ends } = this.view.buckets;
    const inside = starts.map((_, n) => n).filter((n) => ends[n] > from && starts[n] < to);
    if (inside.length) this.onZoom?.(starts[inside[0]], ends[inside.at(-1)]);
  }

  #pick(event) {
    const plot = this.plot, at = plot.cursor.idx;
    if (at === null || at === undefined || !this.view.isStacked || !this.onPick) return;
    const value = plot.posToVal(event.offsetY, "y");
    let sum = 0;
    const hit = this.view.groups.find((group) => (sum += group.values[at] ?? 0) >= value);
    if (hit && hit.key !== null) this.onPick(hit);
  }

  #showTip(plot) {
    const at = plot.cursor.idx, { groups, buckets, unit, zone } = this.view;
    this.tip.hidden = at === null || at === undefined || plot.cursor.left < 0;
    if (this.tip.hidden) return;
    const isOpen = at >= buckets.starts.length - buckets.unfinished;
    const lines = groups.map((group, n) => [group.values[at], group, n]).filter(([value]) => value);
    this.tip.replaceChildren(
      el("strong", {}, `${when(buckets.starts[at], zone, buckets.length >= 86_400_000 ? "day" : "minute")}${isOpen ? " · not finished" : ""}`),
      ...lines.map(([value, group, n]) => el("span", {}, swatch(this.colours[n], n, group.key === null), group.title, el("b", {}, amount(value, unit)))),
      ...(this.view.unpriced?.[at] ? [el("span", { class: "warn" }, `${this.view.unpriced[at].toLocaleString("en")} requests have no price`)] : []),
    );
    const width = this.root.clientWidth, left = plot.cursor.left + 70;
    this.tip.classList.toggle("left", left > width / 2);
    this.tip.style.setProperty("--x", `${left}px`);
  }

  #showLegend() {
    const { groups, unit, isStacked } = this.view;
    const text = JSON.stringify(groups.map((group) => [group.title, isStacked ? amount(group.total, unit) : amount(lastOf(group.values), unit)]));
    if (text === this.legendText && this.legendForm === this.form) return;
    this.legendText = text;
    this.legendForm = this.form;
    this.legend.replaceChildren(
      ...groups.map((group, n) => {
        const inside = [swatch(this.colours[n], n, group.key === null), el("span", {}, group.title), el("b", {}, isStacked ? amount(group.total, unit) : amount(lastOf(group.values), unit))];
        const isPicked = this.onPick && group.key !== null;
        return el("li", {}, isPicked ? el("button", { type: "button", title: `Only ${group.title}`, onclick: () => this.onPick(group) }, ...inside) : el("span", { class: "item" }, ...inside));
      }),
    );
  }
}

export function lastOf(values) {
  return values.findLast((value) => value !== null) ?? null;
}

/** The same numbers as a table: newest bucket first. */
export function showChartTable(root, { groups, buckets, unit, zone }) {
  const order = buckets.starts.map((_, n) => n).reverse();
  const day = buckets.length >= 86_400_000 ? "day" : "minute";
  root.replaceChildren(
    el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Time"), ...groups.map((group) => el("th", { scope: "col", class: "number" }, group.title)))),
      el("tbody", {}, ...order.map((n) => el("tr", {},
        el("th", { scope: "row" }, `${when(buckets.starts[n], zone, day)}${n >= buckets.starts.length - buckets.unfinished ? " (not finished)" : ""}`),
        ...groups.map((group) => el("td", { class: "number", title: exact(group.values[n], unit) }, group.values[n] === null ? MISSING : amount(group.values[n], unit))))))),
  );
}

function swatch(colour, n, isOther) {
  const canvas = el("canvas", { width: 24, height: 24, class: "swatch", "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  context.fillStyle = pattern(colour, isOther ? "solid" : PATTERNS[n % 8], 2);
  context.fillRect(0, 0, 24, 24);
  return canvas;
}

/** A colour with light lines in it, so that series can be told apart without colours. */
function pattern(colour, kind, ratio = devicePixelRatio) {
  if (kind === "solid") return colour;
  const size = Math.round(8 * ratio), tile = new OffscreenCanvas(size, size), context = tile.getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, size, size);
  context.strokeStyle = context.fillStyle = "rgb(255 255 255 / 0.34)";
  context.lineWidth = Math.max(1, 1.2 * ratio);
  const line = (x1, y1, x2, y2) => { context.beginPath(); context.moveTo(x1, y1); context.lineTo(x2, y2); context.stroke(); };
  const half = size / 2;
  if (kind === "rise") for (const shift of [-size, 0, size]) line(shift, size, shift + size, 0);
  if (kind === "fall") for (const shift of [-size, 0, size]) line(shift, 0, shift + size, size);
  if (kind === "dots") context.fillRect(half - ratio, half - ratio, 2 * ratio, 2 * ratio);
  if (kind === "across" || kind === "grid") line(0, half, size, half);
  if (kind === "down" || kind === "grid") line(half, 0, half, size);
  if (kind === "steps") { line(0, half, half, half); line(half, 0, half, half); }
  return context.createPattern(tile, "repeat");
}

function stripes(colour) {
  const size = Math.round(7 * devicePixelRatio), tile = new OffscreenCanvas(size, size), context = tile.getContext("2d");
  context.strokeStyle = colour;
  context.lineWidth = 1.4 * devicePixelRatio;
  for (const shift of [-size, 0, size]) {
    context.beginPath();
    context.moveTo(shift, size);
    context.lineTo(shift + size, 0);
    context.stroke();
  }
  return context.createPattern(tile, "repeat");
}
