// The page: state to questions, answers to panels, and what people do.

import { bucketsOf, Chart, groupsOf, lastOf, showChartTable } from "./chart.js";
import { $, amount, count, el, name, say, share, when } from "./format.js";
import { Live, session, signIn, signOut, whoami } from "./live.js";
import { Freshness, LatestCalls, showEmpty } from "./panels.js";
import * as page from "./state.js";
import { move, next, showBreakdown } from "./table.js";
import { showTiles } from "./tiles.js";

const { state } = page;
const fresh = new Freshness();
const calls = new LatestCalls({ onPick: filterBy });
let isLive = true, answers = null, mainChart = null, latencyChart = null, values = null;

const live = new Live({
  told: (all) => { answers = all; if (isLive) draw(); if (!calls.timer) follow(); },
  stateOf: (data) => { fresh.took(data); if (isLive) drawUnfinished(); },
  lost: (why) => fresh.lost(why),
  refused: (detail) => refuse(detail),
  ended: (detail) => askForKey(detail),
});


async function start() {
  const token = /^#sign-in=([\w-]+)$/.exec(location.hash)?.[1];
  if (token) {
    history.replaceState(null, "", page.url());
    try { await signIn({ link: token }); } catch { askForKey("This sign-in link was used already, or it is older than 10 minutes."); controls(); return; }
  }
  controls();
  ask();
}

/** What is not needed for the first numbers. */
async function follow() {
  const params = new URLSearchParams();
  for (const [key, list] of Object.entries(state.filters)) if (["model", "provider", "agent", "user"].includes(key)) for (const value of list) params.append(key, value);
  if (state.tenant) params.set("tenant", state.tenant);
  calls.follow(params, state.tz);
  try { if (!session.who) who(await whoami()); } catch { /* the stream says it */ }
  for (const panel of Object.values(panels)) panel.again?.();
}

/** The panels below: their scripts are loaded when somebody comes near. */
const panels = {
  cost: async () => { const cost = await import("./cost.js"); return { again: cost.followUnpriced(state), show: () => cost.showCost(answers, state, fresh) }; },
  ops: async () => new (await import("./ops.js")).Operations(state),
};

function watchPanels() {
  const watch = new IntersectionObserver((entries) => {
    for (const { target } of entries.filter((one) => one.isIntersecting)) {
      watch.unobserve(target);
      panels[target.id]().then((panel) => { panels[target.id] = panel; panel.show?.(); });
    }
  }, { rootMargin: "300px" });
  for (const id of Object.keys(panels)) watch.observe($(id));
}

function ask() {
  fresh.zone = state.tz;
  showControls();
  $("problem")?.remove();
  calls.stop();
  live.ask(page.questions(), state.tenant);
}

/** Change what is shown. It is a step of the history, so the back button returns. */
function go(changes) {
  Object.assign(state, changes);
  history.pushState(null, "", page.url());
  ask();
}

addEventListener("popstate", () => { page.read(); ask(); });

// -- answers to panels ----------------------------------------------------------------------------

function draw() {
  const some = answers?.totals ?? answers?.calls;
  if (!some) return;
  const complete = fresh.complete;
  const buckets = answers.series && bucketsOf(answers.series, complete);
  const isEmpty = answers.totals && !answers.totals.totals.events && !answers.totals.previous?.totals.events && !Object.keys(state.filters).length && calls.total === 0;
  showTiles($("tiles"), [[answers.totals, answers.series, buckets], [answers.calls, answers.callSeries, answers.callSeries && bucketsOf(answers.callSeries, complete)]]);
  drawMain(complete);
  drawLatency(buckets);
  const nothing = `No view has ${(page.MEASURES[state.measure] ?? state.measure).toLowerCase()} by these dimensions. Remove a filter, or choose another dimension.`;
  if (!answers.main) say($("main-summary"), nothing);
  for (const [id, answer] of [["main-chart", answers.main], ["main-legend", answers.main], ["latency", answers.series]]) $(id).hidden = !answer;
  panels.cost.show?.();
  if (answers.table) showBreakdown(answers.table, state, { onSort: (sort) => go({ sort }), onPick: (value) => drill(value) });
  const { from, to } = some.range;
  say($("covered"), `${when(Date.parse(from), state.tz, "minute")} to ${when(Date.parse(to), state.tz, "minute")}, ${state.tz}`);
  showEmpty($("empty"), Boolean(isEmpty), state.tenant);
  document.body.classList.toggle("is-empty", Boolean(isEmpty));
  if (!document.body.classList.contains("has-numbers")) watchPanels();
  document.body.classList.add("has-numbers");
}

let drawnAt = "";

/** A bucket is finished when the numbers are complete to its end: only then something is drawn again. */
function drawUnfinished() {
  if (!answers?.series) return;
  const key = `${bucketsOf(answers.series, fresh.complete).unfinished} ${calls.total === 0}`;
  if (key !== drawnAt) { drawnAt = key; draw(); }
}

function drawMain(complete) {
  if (!answers.main || !(state.measure in answers.main.measures)) return;
  const answer = answers.main, measure = state.measure, unit = answer.measures[measure], isStacked = !page.LINES.has(measure);
  const buckets = bucketsOf(answer, complete);
  const groups = groupsOf(answer, measure, state.by, buckets, isStacked);
  const view = { groups, buckets, unit, isStacked, zone: state.tz, unpriced: measure === "cost_usd" ? unpricedOf(answer, buckets) : null };
  mainChart ??= new Chart($("main-chart"), $("main-legend"), { height: () => (state.kiosk ? Math.max(180, innerHeight - 830) : innerWidth < 600 ? 220 : 280), onZoom: (from, to) => go({ from: new Date(from).toISOString(), to: new Date(to).toISOString() }), onPick: (group) => filterBy(state.by, group.key) });
  mainChart.show(view);
  const total = answer.totals[measure], [first] = groups;
  const unpriced = view.unpriced?.reduce((sum, one) => sum + one, 0);
  say($("main-summary"), !groups.length ? "No usage in this range." : `${amount(total, unit)} in all${first && isStacked && total ? `; ${first.title} has most, ${share(first.total / total)}` : ""}${unpriced ? `; ${count(unpriced)} requests have no price and are hatched` : ""}.`);
  if (!$("main-table").hidden) showChartTable($("main-table"), view);
  mainChart.table = view;
}

/** Requests without a price, by bucket. */
function unpricedOf(answer, buckets) {
  const places = new Map(buckets.starts.map((at, n) => [at, n])), found = buckets.starts.map(() => 0);
  for (const row of answer.rows) if (row.cost_coverage !== null && row.cost_coverage < 1) found[places.get(Date.parse(row.time))] += Math.round(row.requests * (1 - row.cost_coverage));
  return found.some(Boolean) ? found : null;
}

const TIMINGS = { latency: "Latency", first_output: "First output", cache: "Cache hits", errors: "Error rate", classes: "Errors by class" };
const SERIES = {
  latency: [["p50_latency_ms", "p50"], ["p95_latency_ms", "p95"], ["p99_latency_ms", "p99"]],
  first_output: [["p50_first_output_ms", "p50"], ["p95_first_output_ms", "p95"], ["p99_first_output_ms", "p99"]],
  cache: [["cache_hit_share", "cache hits"]],
  errors: [["error_rate", "error rate"]],
};

function drawLatency(buckets) {
  const answer = answers.series;
  if (!answer) return;
  if (state.timing === "classes" && answers.classes) return drawClasses(answers.classes);
  let shown = SERIES[state.timing] ?? SERIES.latency;
  if (!(shown[0][0] in answer.measures)) shown = [[`avg_${state.timing}_ms`, "mean"]];
  if (!(shown[0][0] in answer.measures)) shown = [["avg_latency_ms", "mean"]];
  const byTime = new Map(answer.rows.map((row) => [Date.parse(row.time), row]));
  const groups = shown.map(([measure, title]) => ({ key: measure, title, total: answer.totals[measure], values: buckets.starts.map((at) => byTime.get(at)?.[measure] ?? null) }));
  const unit = answer.measures[shown[0][0]];
  const view = { groups, buckets, unit, isStacked: false, zone: state.tz };
  showLatency(view);
  say($("latency-summary"), `In the whole range: ${groups.map((group) => `${group.title} ${amount(group.total, unit)}`).join(", ")}; last bucket ${amount(lastOf(groups[0].values), unit)}.`);
}

function drawClasses(answer) {
  const buckets = bucketsOf(answer, fresh.complete), groups = groupsOf(answer, "errors", "error_class", buckets, true);
  showLatency({ groups, buckets, unit: "events", isStacked: true, zone: state.tz });
  const [first] = groups, total = answer.totals.errors;
  say($("latency-summary"), first ? `${count(total)} requests failed with a class; ${first.title} has most, ${share(first.total / total)}.` : "No request failed in this range.");
}

function showLatency(view) {
  latencyChart ??= new Chart($("latency-chart"), $("latency-legend"), { height: () => 190, onZoom: (from, to) => go({ from: new Date(from).toISOString(), to: new Date(to).toISOString() }), onPick: (group) => filterBy("error_class", group.key) });
  latencyChart.show(view);
  latencyChart.table = view;
  if (!$("latency-table").hidden) showChartTable($("latency-table"), view);
}

// -- what people do -------------------------------------------------------------------------------

function filterBy(dimension, value) {
  const filters = { ...state.filters, [dimension]: [value] };
  go({ filters, by: dimension === state.by ? next(dimension) : state.by });
}

function drill(value) {
  const dimension = state.group, filters = { ...state.filters, [dimension]: [value] };
  go({ filters, group: next(dimension), by: state.by === dimension ? next(dimension) : state.by });
}

function unfilter(key) {
  const filters = { ...state.filters };
  delete filters[key];
  go({ filters });
}

function toggleLive() {
  isLive = !isLive;
  const button = $("live");
  button.setAttribute("aria-pressed", String(isLive));
  say(button, isLive ? "Live" : "Paused");
  document.body.classList.toggle("paused", !isLive);
  if (isLive) { draw(); ask(); } else calls.stop();
}

function setRange(range) {
  go({ range, from: "", to: "" });
}

function options(select, pairs, selected) {
  select.replaceChildren(...pairs.map(([value, title]) => el("option", { value, selected: value === selected }, title)));
}

function controls() {
  $("ranges").replaceChildren(...page.RANGES.map(([range], n) => el("button", { type: "button", "data-range": range, title: `${n + 1}`, onclick: () => setRange(range) }, range)));
  $("more-ranges").addEventListener("change", (event) => {
    if (event.target.value === "custom") openCustom();
    else if (event.target.value) setRange(event.target.value);
  });
  $("compare").addEventListener("click", () => go({ compare: !state.compare }));
  $("live").addEventListener("click", toggleLive);
  $("menu").addEventListener("click", () => $("help").showModal());
  $("close-help").addEventListener("click", () => $("help").close());
  $("sign-out").addEventListener("click", async () => { await signOut(); live.stop(); location.reload(); });
  $("measure").addEventListener("change", (event) => go({ measure: event.target.value }));
  $("by").addEventListener("change", (event) => go({ by: event.target.value }));
  $("group").addEventListener("change", (event) => go({ group: event.target.value }));
  $("top").addEventListener("change", (event) => go({ top: event.target.value }));
  $("timing").addEventListener("change", (event) => go({ timing: event.target.value }));
  $("preset").addEventListener("change", (event) => { const [, changes] = page.PRESETS[event.target.value] ?? []; if (changes) go({ measure: "requests", by: "model", group: "model", sort: "-requests", filters: {}, from: "", to: "", ...changes }); });
  for (const id of ["main", "latency"]) $(`${id}-table-toggle`).addEventListener("click", (event) => {
    const table = $(`${id}-table`), chart = id === "main" ? mainChart : latencyChart;
    table.hidden = !table.hidden;
    event.target.setAttribute("aria-expanded", String(!table.hidden));
    if (!table.hidden && chart?.table) showChartTable(table, chart.table);
  });
  $("curl").addEventListener("click", copyCurl);
  $("filter-name").addEventListener("change", offerValues);
  $("filter-value").addEventListener("focus", offerValues);
  $("filters").addEventListener("submit", (event) => { event.preventDefault(); addFilter(); });
  $("filter-value").addEventListener("change", addFilter);
  $("sign-in").querySelector("form").addEventListener("submit", submitKey);
  $("custom").addEventListener("close", takeCustom);
  const keys = [["/", "filter"], ["1 to 5", "range"], ["c", "compare with the range before"], ["g", "next dimension of the chart"], ["space", "live or paused"], ["j, k, Enter", "move in the table, drill down"], ["?", "this help"]];
  $("keys").replaceChildren(...keys.flatMap(([key, what]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)]));
  addEventListener("keydown", onKey);
  setInterval(() => fresh.show(), 1000);
}

function showControls() {
  for (const button of $("ranges").children) button.setAttribute("aria-pressed", String(!state.from && button.dataset.range === state.range));
  const isMore = state.from || !page.RANGES.some(([range]) => range === state.range);
  options($("more-ranges"), [["", "More…"], ...page.MORE, ["custom", state.from ? "Custom" : "Custom…"]], state.from ? "custom" : isMore ? state.range : "");
  $("compare").setAttribute("aria-pressed", String(state.compare));
  options($("measure"), Object.entries(page.MEASURES), state.measure);
  options($("by"), page.DIMENSIONS.map((one) => [one, one]), state.by);
  options($("group"), page.DIMENSIONS.map((one) => [one, one]), state.group);
  options($("top"), ["5", "10", "25", "100"].map((one) => [one, one]), state.top);
  options($("timing"), Object.entries(TIMINGS), state.timing);
  options($("preset"), [["", "Presets"], ...Object.entries(page.PRESETS).map(([id, [title]]) => [id, title])], "");
  if (!$("filter-name").childElementCount) options($("filter-name"), page.DIMENSIONS.map((one) => [one, one]), "model");
  $("chips").replaceChildren(...Object.entries(state.filters).map(([key, list]) => el("button", { type: "button", class: "chip", title: "Remove this filter", onclick: () => unfilter(key) }, `${key.replace("!", " is not")}: `, el("b", {}, list.map((one) => name(one, key)).join(", ")), " ×")));
  if (!$("tenant").childElementCount && state.tenant) say($("tenant"), state.tenant);
  document.body.classList.toggle("kiosk", state.kiosk);
  document.body.classList.add("ready");
  const params = new URLSearchParams(page.questions().table);
  params.set("format", "csv");
  if (state.tenant) params.set("tenant", state.tenant);
  $("csv").href = `/v1/usage?${params}`;
}

async function copyCurl() {
  const query = page.questions().table + (state.tenant ? `&tenant=${encodeURIComponent(state.tenant)}` : "");
  const text = `curl -s -H "Authorization: Bearer $KEY" '${location.origin}/v1/usage?${query.replaceAll("'", "%27")}'`;
  try { await navigator.clipboard.writeText(text); say($("curl"), "Copied"); } catch { prompt("Copy this:", text); }
  setTimeout(() => say($("curl"), "Copy as curl"), 1500);
}

async function offerValues() {
  const dimension = $("filter-name").value, key = `${dimension} ${state.tenant}`;
  if (values === key) return;
  values = key;
  const params = new URLSearchParams({ limit: "100" });
  if (state.tenant) params.set("tenant", state.tenant);
  const answer = await fetch(`/v1/dimensions/${dimension}?${params}`);
  if (answer.ok) $("filter-values").replaceChildren(...(await answer.json()).values.map((one) => el("option", { value: one.value }, `${count(one.events)} events`)));
}

function addFilter() {
  const input = $("filter-value"), value = input.value.trim();
  if (!value) return;
  input.value = "";
  input.blur();
  go({ filters: { ...state.filters, [$("filter-name").value]: [value] } });
}

function openCustom() {
  $("from").value = state.from;
  $("to").value = state.to;
  $("zone").value = state.tz;
  if (!$("zones").childElementCount) $("zones").replaceChildren(...["UTC", ...Intl.supportedValuesOf("timeZone")].map((zone) => el("option", { value: zone })));
  $("custom").returnValue = "";
  $("custom").showModal();
}

function takeCustom() {
  if ($("custom").returnValue !== "ok") return showControls();
  const tz = $("zone").value.trim() || "UTC";
  try { new Intl.DateTimeFormat("en", { timeZone: tz }); } catch { return refuse(`${tz} is no time zone.`); }
  go({ from: $("from").value.trim(), to: $("to").value.trim(), tz });
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (isTyping) { if (event.key === "Escape") event.target.blur(); return; }
  const range = page.RANGES[Number(event.key) - 1];
  const onButton = event.target.tagName === "BUTTON" || event.target.tagName === "A";
  if (range) setRange(range[0]);
  else if (event.key === "/") $("filter-value").focus();
  else if (event.key === "g") go({ by: page.DIMENSIONS[(page.DIMENSIONS.indexOf(state.by) + 1) % 5] });
  else if (event.key === "c") go({ compare: !state.compare });
  else if (event.key === " " && !onButton) toggleLive();
  else if (event.key === "?") $("help").showModal();
  else if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
  else return;
  event.preventDefault();
}

// -- signing in -----------------------------------------------------------------------------------

function askForKey(detail) {
  live.stop();
  calls.stop();
  document.body.classList.add("signed-out");
  $("sign-in").hidden = false;
  say($("sign-in-error"), /^Send an API key/.test(detail ?? "") ? "" : detail ?? "");
  say($("fresh-text"), "signed out");
  $("freshness").className = "freshness";
  $("key").focus();
}

async function submitKey(event) {
  event.preventDefault();
  try {
    const found = await signIn({ key: $("key").value });
    $("key").value = "";
    $("sign-in").hidden = true;
    document.body.classList.remove("signed-out");
    who(found);
    live.path = "";
    if (!needsTenant(found)) ask();
  } catch (error) {
    say($("sign-in-error"), error.message || "The API does not answer.");
  }
}

function who(found) {
  if (!found) return;
  const tenants = found.tenants === "*" ? "all tenants" : found.tenants.join(", ");
  say($("who"), `Signed in with the key ${found.name} (${found.role}, ${tenants}).`);
  if (Array.isArray(found.tenants) && found.tenants.length === 1) say($("tenant"), found.tenants[0]);
  needsTenant(found);
}

/** A key of several tenants shows one at a time. */
function needsTenant(found) {
  const root = $("tenant");
  if (found.tenants !== "*" && found.tenants.length === 1) return false;
  const choose = found.tenants === "*"
    ? el("input", { "aria-label": "Tenant", placeholder: "tenant", value: state.tenant, onchange: (event) => go({ tenant: event.target.value.trim() }) })
    : el("select", { "aria-label": "Tenant", onchange: (event) => go({ tenant: event.target.value }) }, ...found.tenants.map((one) => el("option", { value: one, selected: one === state.tenant }, one)));
  root.replaceChildren(choose);
  if (state.tenant) return false;
  if (found.tenants !== "*") { go({ tenant: found.tenants[0] }); return true; }
  choose.focus();
  return true;
}

/** The API cannot answer this question: its own sentence says why. */
function refuse(detail) {
  if (!session.who) whoami().then(who, () => {}); // a key of several tenants has to choose one
  $("problem")?.remove();
  const undo = el("button", { type: "button", class: "quiet", onclick: () => history.back() }, "Go back");
  $("notice").after(el("section", { id: "problem", class: "notice amber", role: "alert" }, el("span", {}, detail), undo));
}

page.read();
start();
