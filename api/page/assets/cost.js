// Cost: this month against the last, a forecast, and the models that have no price. Loaded after the first numbers.

import { Chart } from "./chart.js";
import { $, change, count, el, name, say, share, usd, when } from "./format.js";
import { get, whileSeen } from "./live.js";

const DAY_MS = 86_400_000, MEAN_DAYS = 7, UNPRICED_EVERY_MS = 60_000;
/** The prices that an event of a kind needs at least. */
const PRICES = { llm: ["usd_per_million_input_tokens", "usd_per_million_output_tokens"], tts: ["usd_per_million_characters"], stt: ["usd_per_minute_of_audio"] };

let chart = null;

/** Months of days: `days` by "2026-02" and day of the month, with their cost and requests. */
function monthsOf(answer, zone) {
  const format = new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" });
  const found = new Map();
  for (const row of answer.rows) {
    const text = format.format(Date.parse(row.time)), month = text.slice(0, 7);
    if (!found.has(month)) found.set(month, new Map());
    found.get(month).set(Number(text.slice(8)), row);
  }
  return { found, format };
}

const lengthOf = (month) => new Date(Date.UTC(Number(month.slice(0, 4)), Number(month.slice(5)), 0)).getUTCDate();

/** The running sum by day, up to the day `until`. */
function running(days, until) {
  let sum = 0;
  return Array.from({ length: until }, (_, n) => (sum += days?.get(n + 1)?.cost_usd ?? 0));
}

/** What this month will have cost; null if it is not known, with the reason. */
export function forecast({ soFar, days, before, today, length, part, historyFrom, now }) {
  if (soFar === null) return { usd: null, why: "no request of this month has a price" };
  const whole = [];
  for (let back = 1; back <= MEAN_DAYS; back++) whole.push(today - back > 0 ? days?.get(today - back) : before.days?.get(before.length + today - back));
  const firstKnown = whole.findLastIndex(Boolean);
  if (historyFrom !== null && historyFrom > now - (MEAN_DAYS + 1) * DAY_MS) return { usd: null, why: "the counters are complete for less than 7 whole days" };
  if (firstKnown < MEAN_DAYS - 1) return { usd: null, why: "it needs usage since 7 whole days" };
  const mean = whole.reduce((sum, day) => sum + (day?.cost_usd ?? 0), 0) / MEAN_DAYS;
  return { usd: soFar + mean * (length - today + 1 - part), mean };
}

export function showCost(answers, state, fresh) {
  const { month, days } = answers;
  for (const id of ["cost-body", "cost-chart", "cost-legend"]) $(id).hidden = !month;
  if (!month || !days) return say($("cost-summary"), "No view has cost by provider and model with these filters. Remove a filter.");
  const zone = state.tz, now = Date.parse(days.range.to), { found, format } = monthsOf(days, zone);
  const text = format.format(now - 1), name_ = text.slice(0, 7), today = Number(text.slice(8)), length = lengthOf(name_);
  const previous = new Date(Date.UTC(Number(name_.slice(0, 4)), Number(name_.slice(5)) - 2, 1)).toISOString().slice(0, 7);
  const before = { days: found.get(previous), length: lengthOf(previous) };
  const soFar = month.totals.cost_usd, last = month.previous?.totals.cost_usd ?? null;
  const clock = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "numeric", minute: "numeric", hourCycle: "h23" }).format(now - 1).split(":");
  const part = (Number(clock[0]) * 60 + Number(clock[1])) / 1440;
  const historyFrom = fresh.state?.history_from ? Date.parse(fresh.state.history_from) : null;
  const ahead = forecast({ soFar, days: found.get(name_), before, today, length, part, historyFrom, now });
  const whole = running(before.days, before.length).at(-1);
  const coverage = month.totals.cost_coverage;
  const facts = [
    [`${when(now - 1, zone, "month")}, so far`, usd(soFar), coverage !== null && coverage < 1 ? `${share(Math.min(coverage, 0.9999))} of requests priced` : ""],
    ["last month, to the same time", usd(last), compared(change(soFar, last))],
    ["last month, whole", before.days ? usd(whole) : "–", ""],
    ["forecast of this month", usd(ahead.usd), ahead.usd === null ? `not known: ${ahead.why}` : ""],
  ];
  $("cost-facts").replaceChildren(...facts.map(([title, value, note]) => el("div", {}, el("dt", {}, title), el("dd", {}, value), el("dd", { class: "note" }, note))));
  say($("cost-summary"), soFar === null ? "No cost is known for this month." : `${usd(soFar)} so far${last ? `, ${compared(change(soFar, last))}` : ""}.${ahead.usd === null ? "" : ` Forecast ${usd(ahead.usd)}: so far, and ${usd(ahead.mean)} a day (the mean of the last 7 whole days) for what is left.`}${coverage !== null && coverage < 1 ? " Requests without a price add nothing." : ""}`);
  showChart(found.get(name_), before, { today, length, ahead, zone, now });
  showRows(month);
}

function compared(part) {
  return part === null ? "" : part === 0 ? "the same as last month" : `${share(Math.abs(part))} ${part > 0 ? "more" : "less"} than last month`;
}

function showChart(days, before, { today, length, ahead, zone, now }) {
  const size = Math.max(length, before.length), first = now - now % DAY_MS - (today - 1) * DAY_MS;
  const starts = Array.from({ length: size }, (_, n) => first + n * DAY_MS);
  const padded = (values) => [...values, ...Array(size - values.length).fill(null)];
  const own = running(days, today), last = running(before.days, before.length);
  const groups = [
    { key: "this", title: "this month", values: padded(own), total: own.at(-1) },
    { key: "last", title: "last month", values: padded(last), total: last.at(-1) },
  ];
  if (ahead.usd !== null && length > today) {
    const values = starts.map((_, n) => (n < today - 1 || n >= length ? null : own.at(-1) + ((ahead.usd - own.at(-1)) * (n - today + 1)) / (length - today)));
    groups.push({ key: "forecast", title: "forecast", values, total: ahead.usd });
  }
  chart ??= new Chart($("cost-chart"), $("cost-legend"), { height: () => 190 });
  chart.show({ groups, buckets: { starts, ends: starts.map((at) => at + DAY_MS), unfinished: 0, length: DAY_MS }, unit: "USD", isStacked: false, zone: zone && "UTC" });
}

function showRows(month) {
  const earlier = new Map((month.previous?.rows ?? []).map((row) => [keyOf(row), row]));
  const head = ["provider", "model", "this month", "share", "last month", "change", "requests"];
  const text = JSON.stringify([month.rows, month.previous?.rows]);
  if ($("cost-rows").dataset.text === text) return;
  $("cost-rows").dataset.text = text;
  $("cost-rows").replaceChildren(
    el("thead", {}, el("tr", {}, ...head.map((title, n) => el("th", { scope: "col", class: n > 1 ? "number" : null }, title)))),
    el("tbody", {}, ...month.rows.map((row) => {
      const last = earlier.get(keyOf(row))?.cost_usd ?? null, isPart = row.cost_coverage !== null && row.cost_coverage < 1;
      return el("tr", { class: row.other ? "other" : null },
        el("th", { scope: "row" }, row.other ? "all others" : name(row.provider, "provider")), el("td", {}, row.other ? "" : name(row.model, "model")),
        el("td", { class: `number${isPart ? " unpriced" : ""}`, title: isPart ? `${share(Math.min(row.cost_coverage, 0.9999))} of its requests have a price` : null }, usd(row.cost_usd)),
        el("td", { class: "number" }, month.totals.cost_usd ? share((row.cost_usd ?? 0) / month.totals.cost_usd) : "–"),
        el("td", { class: "number" }, usd(last)), el("td", { class: "number" }, percent(change(row.cost_usd, last))), el("td", { class: "number" }, count(row.requests)));
    })),
  );
}

const keyOf = (row) => JSON.stringify([row.provider, row.model, Boolean(row.other)]);
const percent = (part) => (part === null ? "–" : `${part > 0 ? "+" : ""}${(part * 100).toFixed(Math.abs(part) < 0.1 ? 1 : 0)}%`);

// -- models without a price -----------------------------------------------------------------------

/** Ask for them while the panel is seen. */
export function followUnpriced(state) {
  return whileSeen($("cost"), UNPRICED_EVERY_MS, async () => {
    const params = state.tenant ? `?tenant=${encodeURIComponent(state.tenant)}` : "";
    const status = await get(`/v1/status${params}`);
    if ("unpriced" in status && Array.isArray(status.unpriced)) showUnpriced(status.unpriced);
  });
}

/** A model none of whose requests has a cost needs a price. With a price, only some lack it: they failed, say. */
function showUnpriced(models) {
  const missing = models.filter((one) => one.without_cost === one.requests), others = models.filter((one) => one.without_cost < one.requests);
  const text = JSON.stringify(models), root = $("unpriced"), toml = tomlOf(missing);
  root.hidden = !models.length;
  if (root.dataset.text === text) return;
  root.dataset.text = text;
  const copy = el("button", { type: "button", class: "quiet", onclick: () => navigator.clipboard.writeText(toml).then(() => say(copy, "Copied")) }, "Copy");
  const some = others.reduce((sum, one) => sum + one.without_cost, 0);
  root.replaceChildren(...[
    el("div", { class: "head" }, el("h3", {}, "Requests without a cost, last 7 days"), missing.length ? copy : null),
    missing.length ? el("p", { class: "summary" }, `No price: ${missing.map((one) => `${one.provider ?? "no provider"} ${one.model ?? "no model"} (${count(one.requests)} requests)`).join(", ")}. Fill in your prices, name the file in ODOMETER_PRICES_FILE, and restart the workers. For what is counted already: odometer rebuild.`) : null,
    missing.length ? el("pre", { tabindex: "0", role: "region", "aria-label": "Entries for the price file" }, el("code", {}, toml)) : null,
    some ? el("p", { class: "summary" }, `${count(some)} requests to ${others.length} models with a price have no cost: they failed, or do not report what their price needs. odometer explain says it of one event.`) : null,
  ].filter(Boolean));
}

/** Entries of a price file. Without its numbers it is no TOML, so no price of 0 can be taken over by mistake. */
export function tomlOf(models) {
  return models.map((one) => [
    "[[price]]", ...(one.provider ? [`provider = ${JSON.stringify(one.provider)}`] : []), ...(one.model ? [`model = ${JSON.stringify(one.model)}`] : []),
    ...(PRICES[one.kind] ?? PRICES.llm).map((price) => `${price} = # your price`),
  ].join("\n")).join("\n\n");
}
