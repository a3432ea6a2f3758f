// Latest calls, how fresh the numbers are, and what to do before the first event.

import { $, ago, count, el, ms, name, say, usd, when } from "./format.js";

const CALLS_EVERY_MS = 2000;
const AMBER_MS = 5000, RED_MS = 60_000;

// -- latest calls ---------------------------------------------------------------------------------

export class LatestCalls {
  constructor({ onPick }) {
    Object.assign(this, { onPick, tag: null, path: "", seen: new Set(), total: null });
  }

  /** Ask now and every 2 s; `params`: the tenant and the filters. */
  follow(params, zone) {
    this.stop();
    params.set("limit", "30");
    const path = `/v1/calls?${params}`;
    if (path !== this.path) Object.assign(this, { path, tag: null, seen: new Set() });
    this.zone = zone;
    this.#ask();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.control?.abort();
  }

  async #ask() {
    this.timer = -1;
    const control = (this.control = new AbortController());
    try {
      if (!document.hidden) {
        const answer = await fetch(this.path, { signal: control.signal }); // the browser's cache asks with the ETag
        const found = await answer.json(), tag = answer.headers.get("etag");
        if (!answer.ok) say($("calls-note"), found.detail);
        else if (tag !== this.tag) {
          this.tag = tag;
          this.total = found.calls.length;
          this.#show(found.calls);
        }
      }
    } catch {
      // The stream says that the API does not answer.
    }
    if (!control.signal.aborted) this.timer = setTimeout(() => this.#ask(), CALLS_EVERY_MS);
  }

  #show(calls) {
    const isFirst = !this.seen.size;
    say($("calls-note"), "without content");
    say($("calls-summary"), calls.length ? `The newest was ${when(Date.parse(calls[0].time), this.zone, "time")}: ${calls[0].model || "no model"}${calls[0].agent ? `, ${calls[0].agent}` : ""}.` : "No model call yet.");
    const head = ["time", "model", "agent", "user", "in", "out", "cost", "latency"];
    $("call-rows").replaceChildren(
      el("thead", {}, el("tr", {}, ...head.map((title) => el("th", { scope: "col", class: ["in", "out", "cost", "latency"].includes(title) ? "number" : null }, title)))),
      el("tbody", {}, ...calls.map((call) => el("tr", { class: [!isFirst && !this.seen.has(call.id) ? "new" : "", call.error ? "failed" : ""].join(" ").trim() || null, title: call.error ? `Failed: ${call.error}` : call.id },
        el("th", { scope: "row" }, when(Date.parse(call.time), this.zone, "time"), call.error ? el("span", { class: "bad" }, " failed") : null),
        ...["model", "agent", "user"].map((dimension) => el("td", {}, call[dimension] ? el("button", { type: "button", class: "row", title: `Only ${call[dimension]}`, onclick: () => this.onPick(dimension, call[dimension]) }, name(call[dimension], dimension)) : "")),
        el("td", { class: "number" }, count(call.input_tokens)), el("td", { class: "number" }, count(call.output_tokens)),
        el("td", { class: `number${call.cost_usd === null ? " unpriced" : ""}`, title: call.cost_usd === null ? "no price is known" : null }, usd(call.cost_usd)),
        el("td", { class: "number" }, ms(call.latency_ms))))),
    );
    this.seen = new Set(calls.map((call) => call.id));
  }
}

// -- freshness ------------------------------------------------------------------------------------

/** What the bar says: how far the numbers are complete, and what helps if they are not. */
export class Freshness {
  constructor() {
    this.level = "";
  }

  took(state) {
    Object.assign(this, { state, at: performance.now(), lostWhy: null });
    this.show();
  }

  lost(why) {
    this.lostWhy = why || "The API does not answer.";
    this.lostAt ??= performance.now();
    this.show();
  }

  /** Where numbers are complete to, in ms; null if that is not known. */
  get complete() {
    return this.state?.complete_through ? Date.parse(this.state.complete_through) : null;
  }

  show() {
    if (this.lostWhy) return this.#say("red", "not connected", this.lostWhy, "odometer status");
    this.lostAt = null;
    if (!this.state) return;
    const { state } = this, now = Date.parse(state.now) + performance.now() - this.at;
    if (state.unavailable) return this.#say("red", "no counters", state.unavailable, "odometer status");
    if (this.complete === null) return this.#say("amber", "freshness not known", "No worker has counted every partition yet.", "odometer worker");
    const behind = now - this.complete;
    const text = `complete to ${when(this.complete, this.zone, "time")}, ${ago(behind)} ago`;
    if (state.refused.length) return this.#say("red", text, `A worker has paused ${state.refused[0] === "generation" ? "these counters" : `partition ${state.refused.join(", ")}`}. It says why:`, "odometer status");
    if (behind > RED_MS) return this.#say("red", text, "Events are not counted. No worker seems to run:", "odometer worker");
    if (behind > AMBER_MS) return this.#say("amber", text, "Counting is behind. If no worker runs:", "odometer worker");
    this.#say("green", text, "", "");
  }

  #say(level, text, why, command) {
    $("freshness").className = `freshness ${level}`;
    say($("fresh-text"), text);
    const notice = $("notice");
    if (why !== this.why || command !== this.command) {
      notice.replaceChildren(el("span", {}, why), command ? el("code", {}, command) : "");
      notice.hidden = !why;
      notice.className = `notice ${level}`;
      Object.assign(this, { why, command });
    }
    if (level !== this.level) {
      if (this.level || level !== "green") say($("announce"), level === "green" ? "The numbers are fresh again." : `${text}. ${why} ${command}`);
      this.level = level;
    }
  }
}

// -- the first event ------------------------------------------------------------------------------

export function showEmpty(root, isShown, tenant) {
  root.hidden = !isShown;
  if (!isShown || root.childElementCount) return;
  const at = location.origin;
  const ways = [
    ["curl", `curl -s -H "Authorization: Bearer $KEY" -H 'content-type: application/json' \\\n  ${at}/v1/events${tenant ? `?tenant=${encodeURIComponent(tenant)}` : ""} \\\n  -d '{"id":"first-1","source":"page","kind":"llm","provider":"openai","model":"gpt-4o",\n       "agent_id":"my-agent","input_tokens":1200,"output_tokens":300}'`],
    ["Python", `from openai import OpenAI\nfrom streams.meter import Meter\n\nmeter = Meter("${at}", key)\nclient = meter.wrap(OpenAI())  # use it as before`],
    ["A file", `odometer send usage.jsonl --url ${at}`],
  ];
  root.append(
    el("h2", {}, "No usage yet"),
    el("p", {}, "Send a first event in one of three ways. ", el("strong", { class: "waiting" }, "This page waits for it and shows it at once.")),
    el("p", { class: "note" }, "The page keeps no key. In the terminal: ", el("code", {}, "export KEY=$(cat .odometer/api-key)")),
    el("div", { class: "ways" }, ...ways.map(([title, text]) => {
      const copy = el("button", { type: "button", class: "quiet", onclick: () => navigator.clipboard.writeText(text).then(() => say(copy, "Copied")) }, "Copy");
      return el("article", {}, el("div", { class: "head" }, el("h3", {}, title), copy), el("pre", { tabindex: "0" }, el("code", {}, text)));
    })),
  );
}
