// The breakdown: rows by a dimension, sorted, with their share; Enter and click drill down.

import { $, amount, el, exact, name, say, share } from "./format.js";
import { MEASURES } from "./state.js";

const NEXT = { provider: "model", model: "agent", agent: "model", user: "agent", kind: "provider", service: "phone", operation: "model", service_tier: "model", error_class: "model", phone: "service" };

/** The dimension to show after a value of this one was picked. */
export const next = (dimension) => NEXT[dimension];

export function showBreakdown(answer, state, { onSort, onPick }) {
  const dimension = state.group;
  let sorted = state.sort.replace("-", ""), isDown = state.sort.startsWith("-");
  if (!(sorted in answer.measures)) [sorted, isDown] = [Object.keys(answer.measures)[0], true];
  const columns = Object.keys(answer.measures).filter((measure) => measure !== "cost_coverage");
  const isShared = answer.measures[sorted] && !["share", "ms"].includes(answer.measures[sorted]) && answer.totals[sorted];
  const rows = [...answer.rows].sort((a, b) => a.other - b.other || order(a[sorted], b[sorted], isDown) || (a[dimension] < b[dimension] ? -1 : 1));
  const header = columns.map((measure) => {
    const isSorted = measure === sorted;
    return el("th", { scope: "col", class: "number", "aria-sort": isSorted ? (isDown ? "descending" : "ascending") : "none" },
      el("button", { type: "button", "data-sort": measure, onclick: () => onSort(isSorted && isDown ? measure : `-${measure}`) }, MEASURES[measure] ?? measure, isSorted ? (isDown ? " ↓" : " ↑") : ""));
  });
  const body = rows.map((row) => {
    const title = row.other ? "all others" : name(row[dimension], dimension);
    const part = isShared ? (row[sorted] ?? 0) / answer.totals[sorted] : null;
    const made = el("tr", { class: row.other ? "other" : null },
      el("th", { scope: "row" }, row.other ? title : el("button", { type: "button", class: "row", "data-key": row[dimension], title: `Only ${title}, by ${NEXT[dimension]}`, onclick: () => onPick(row[dimension]) }, title)),
      el("td", { class: "share" }, part === null ? "" : el("span", { class: "track" }, el("i")), part === null ? "" : el("span", {}, share(part))),
      ...columns.map((measure) => el("td", { class: `number${measure === "cost_usd" && row.cost_coverage !== null && row.cost_coverage < 1 ? " unpriced" : ""}`, title: measure === "cost_usd" && row.cost_coverage !== null && row.cost_coverage < 1 ? `${share(Math.min(row.cost_coverage, 0.9999))} of its requests have a price` : exact(row[measure], answer.measures[measure]) }, amount(row[measure], answer.measures[measure]))));
    if (part !== null) made.querySelector("i").style.setProperty("width", `${Math.max(1, part * 100)}%`);
    return made;
  });
  const foot = el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, "total"), el("td"), ...columns.map((measure) => el("td", { class: "number" }, amount(answer.totals[measure], answer.measures[measure])))));
  const focused = document.activeElement?.dataset?.key ?? null, sortedBy = document.activeElement?.dataset?.sort ?? null;
  const table = $("rows");
  table.replaceChildren(el("thead", {}, el("tr", {}, el("th", { scope: "col" }, dimension), el("th", { scope: "col" }, "share"), ...header)), el("tbody", {}, ...body), foot);
  if (focused !== null) [...table.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus({ preventScroll: true });
  if (sortedBy !== null) table.querySelector(`[data-sort="${sortedBy}"]`)?.focus({ preventScroll: true });
  const [first] = rows;
  say($("breakdown-summary"), first && !first.other
    ? `${name(first[dimension], dimension)} leads with ${amount(first[sorted], answer.measures[sorted])}${isShared ? `, ${share(first[sorted] / answer.totals[sorted])} of all` : ""}; ${rows.filter((row) => !row.other).length} rows${rows.at(-1).other ? " and all others" : ""}.`
    : "No usage in this range.");
}

function order(a, b, isDown) {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  return isDown ? b - a : a - b;
}

/** Move between rows with j and k. */
export function move(by) {
  const rows = [...document.querySelectorAll("#rows .row")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + by))].focus();
}
