// Operations: whether events are counted, dead letters to view, fix and replay, and keys. Loaded when it is seen.

import { $, ago, count, el, exact, MISSING, say, when } from "./format.js";
import { get, post, session, whileSeen } from "./live.js";

const EVERY_MS = 5000;
const LETTERS_SHOWN = "50";
const ADMINS = ["admin", "super-admin"];

export class Operations {
  constructor(state) {
    Object.assign(this, { state, reasons: "" });
    this.ask = whileSeen($("ops"), EVERY_MS, () => this.#read(), (why) => say($("ops-summary"), why));
  }

  /** The tenant or the session may be another one. */
  again() {
    this.reasons = "";
    $("ops-keys").replaceChildren();
    this.ask();
  }

  async #read() {
    const isAdmin = ADMINS.includes(session.who.role);
    const status = await get("/v1/status");
    this.isWhole = "verdict" in status;
    if (this.isWhole) this.#showWhole(status);
    else this.#showOwn(status);
    if (!isAdmin) return;
    const reasons = JSON.stringify(status.dead_letters ?? status.dead_letters_last_hour);
    if (reasons !== this.reasons) {
      this.reasons = reasons;
      await this.#readLetters();
    }
    if (!$("ops-keys").childElementCount) showKeys((await get("/v1/keys")).keys, this.state.tz);
  }

  // -- the state of counting ----------------------------------------------------------------------

  #showWhole(status) {
    const { verdict } = status, zone = this.state.tz, now = Date.now();
    for (const id of ["ops-partitions", "ops-generations"]) $(id).parentElement.hidden = false;
    this.#showVerdict(verdict.sentence, verdict.next, ["good", "warn", "bad"][verdict.state], [...verdict.notes, ...status.problems]);
    table($("ops-partitions"), ["partition", "counted", "end", "lag", "complete to", "last commit", "paused"], status.partitions.map((one) => [
      String(one.partition), count(one.position), count(one.end), count(one.lag),
      one.complete_through_ms ? `${ago(now - one.complete_through_ms)} ago` : MISSING,
      one.last_commit_ms ? `${ago(now - one.last_commit_ms)} ago` : MISSING,
      one.refused ?? "no",
    ]), (cells) => (cells[6] === "no" ? "" : "failed"), 5);
    facts($("ops-facts"), [
      ["duplicates", status.duplicates], ["with other numbers", status.differs], ["series", status.series], ["commits", status.commits],
      ...named("unknown fields", status.unknown_fields), ...named("not counted", status.skipped), ...named("over a limit", status.over_limit), ...named("misread labels", status.misread),
      ["directory full", status.directory_full || undefined],
    ]);
    table($("ops-generations"), ["generation", "state", "records", "begun"], status.generations.map((one) => [
      String(one.generation), one.state, count(one.counted), one.begun_ms ? when(one.begun_ms, zone, "minute") : MISSING,
    ]), () => "", 2);
  }

  #showOwn(status) {
    const behind = status.complete_through ? Date.now() - Date.parse(status.complete_through) : null;
    const isPaused = status.refused.length > 0;
    this.#showVerdict(
      isPaused ? `Not all events are counted: ${status.refused.join(", ")} paused.` : behind === null ? "No worker has counted yet." : `Events are counted; complete ${ago(behind)} ago.`,
      "", isPaused ? "bad" : behind === null || behind > 5000 ? "warn" : "good",
      status.history_from ? [`History begins at ${when(Date.parse(status.history_from), this.state.tz, "minute")}.`] : [],
    );
    const total = (reasons) => reasons && Object.values(reasons).reduce((sum, one) => sum + one, 0);
    const since = status.dead_letters_from;
    facts($("ops-facts"), [
      ["dead letters, last hour", total(status.dead_letters_last_hour)],
      [since ? `dead letters since ${when(Date.parse(since), this.state.tz, "minute")}` : "dead letters, all that are kept", total(status.dead_letters)],
      ...named("dead letters", status.dead_letters ?? {}),
    ]);
    for (const id of ["ops-partitions", "ops-generations"]) $(id).parentElement.hidden = true;
  }

  #showVerdict(sentence, next, level, notes) {
    const root = $("ops-summary");
    root.className = `summary verdict ${level}`;
    const key = JSON.stringify([sentence, next, notes]);
    if (root.dataset.key === key) return;
    root.dataset.key = key;
    root.replaceChildren(el("strong", {}, sentence), next ? el("code", {}, next) : "", ...notes.map((note) => el("span", { class: "note" }, note)));
  }

  // -- dead letters -------------------------------------------------------------------------------

  async #readLetters() {
    const params = new URLSearchParams({ limit: LETTERS_SHOWN });
    if (this.state.tenant && !this.isWhole) params.set("tenant", this.state.tenant);
    const found = await get(`/v1/dead-letters?${params}`);
    const all = Object.values(found.reasons).reduce((sum, one) => sum + one, 0);
    $("ops-letters").hidden = false;
    say($("letters-summary"), found.problem ?? (all
      ? `${count(all)} ${all === 1 ? "record" : "records"} could not be counted: ${Object.entries(found.reasons).map(([reason, n]) => `${reason} ${count(n)}`).join(", ")}.${found.searched_from ? ` Older than ${when(Date.parse(found.searched_from), this.state.tz, "minute")}: not searched.` : ""}`
      : "No dead letters."));
    const head = ["appended", "tenant", "reason", "field", "detail", "replayed", ""];
    $("letters").replaceChildren(
      el("thead", {}, el("tr", {}, ...head.map((title) => el("th", { scope: "col" }, title || el("span", { class: "hidden" }, "actions"))))),
      el("tbody", {}, ...found.dead_letters.map((one) => el("tr", { title: one.origin },
        el("th", { scope: "row" }, when(Date.parse(one.appended), this.state.tz, "minute")),
        el("td", {}, one.tenant ?? "not readable"), el("td", {}, one.reason), el("td", {}, one.field), el("td", { class: "wrap" }, one.detail),
        el("td", {}, one.replayed ? one.replayed.state : "no"),
        el("td", {}, el("button", { type: "button", class: "quiet", "data-origin": one.origin, onclick: () => this.#open(one.origin) }, "View"))))),
    );
  }

  async #open(origin) {
    const dialog = $("letter");
    const letter = await get(`/v1/dead-letters/${encodeURIComponent(origin)}`);
    const value = el("textarea", { id: "letter-value", spellcheck: "false", rows: "12" });
    value.value = pretty(letter.value ?? "");
    const original = value.value;
    const said = el("p", { class: "note", role: "status", id: "letter-said" }, `A replay would ${letter.replay_would}.`);
    const send = async (dryRun) => {
      try {
        const body = { origins: [origin], dry_run: dryRun };
        if (value.value !== original) body.value = value.value;
        const { results: [one] } = await post("/v1/dead-letters/replay", body);
        const as = one.counts_as ? ` as ${one.counts_as.tenant}|${one.counts_as.source}|${one.counts_as.id}` : "";
        say(said, { sent: `Sent${as}. It counts once.`, sendable: `It would count${as}.`, refused: `It would be a dead letter again: ${one.detail}`, kept: `Not sent: it ${one.detail}` }[one.outcome]);
        if (one.outcome === "sent") await this.#readLetters();
      } catch (error) {
        say(said, error.message);
      }
    };
    dialog.replaceChildren(
      el("h2", { id: "letter-title" }, "Dead letter"),
      el("dl", {}, ...Object.entries({ origin, tenant: letter.tenant ?? "not readable", reason: letter.reason, field: letter.field || "the record", detail: letter.detail, headers: Object.entries(letter.headers).map((pair) => pair.join(": ")).join("\n") || "none" }).flatMap(([title, text]) => [el("dt", {}, title), el("dd", { class: "wrap" }, text)])),
      el("label", { for: "letter-value" }, letter.value_is_whole ? "The record. Correct it here, then replay it." : "The beginning of the record. It is too long to correct here: use odometer dead replay."),
      value, said,
      el("div", { class: "actions" },
        el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Close"),
        el("button", { type: "button", class: "quiet", onclick: () => send(true) }, "Check"),
        el("button", { type: "button", class: "primary", onclick: () => send(false) }, "Replay")),
    );
    value.readOnly = !letter.value_is_whole;
    dialog.showModal();
  }
}

function showKeys(keys, zone) {
  $("ops-keys-box").hidden = false;
  const active = keys.filter((one) => one.state === "active");
  say($("keys-summary"), `${count(active.length)} active keys that you manage; ${count(keys.length - active.length)} expired or revoked.`);
  table($("ops-keys"), ["name", "role", "tenants", "last used", "expires"], active.map((one) => [
    one.name, one.role, one.tenants === "all" ? "all" : one.tenants.join(", "),
    one.last_used ? when(Date.parse(one.last_used), zone, "minute") : "never", one.expires ? when(Date.parse(one.expires), zone, "minute") : "never",
  ]), () => "", 0);
}

// -- small pieces ---------------------------------------------------------------------------------

/** Rows of texts; `numbers`: the columns 1 to this one are numbers. */
function table(root, head, rows, classOf, numbers) {
  const text = JSON.stringify(rows);
  if (root.dataset.text === text && root.childElementCount) return;
  root.dataset.text = text;
  root.replaceChildren(
    el("thead", {}, el("tr", {}, ...head.map((title, n) => el("th", { scope: "col", class: n && n <= numbers ? "number" : null }, title)))),
    el("tbody", {}, ...rows.map((cells) => el("tr", { class: classOf(cells) || null }, ...cells.map((cell, n) => el(n ? "td" : "th", { scope: n ? null : "row", class: n && n <= numbers ? "number" : "wrap" }, cell))))),
  );
}

function named(title, counts) {
  return Object.entries(counts).sort((a, b) => b[1] - a[1]).slice(0, 8).map(([key, value]) => [`${title}: ${key}`, value]);
}

function facts(root, pairs) {
  root.replaceChildren(...pairs.filter(([, value]) => value !== undefined).flatMap(([title, value]) => [el("dt", {}, title), el("dd", { title: value === null ? "not known" : exact(value, "") }, count(value))]));
}

/** JSON over several lines. Only space between its parts changes, so every number stays as it was sent. */
function pretty(text) {
  try { JSON.parse(text); } catch { return text; }
  let out = "", depth = 0, isText = false;
  for (let n = 0; n < text.length; n++) {
    const c = text[n];
    if (isText) {
      out += c === "\\" ? c + text[++n] : c;
      isText = c !== '"';
    } else if (c === '"') { isText = true; out += c; }
    else if (c === "{" || c === "[") out += `${c}\n${" ".repeat(++depth)}`;
    else if (c === "}" || c === "]") out += `\n${" ".repeat(--depth)}${c}`;
    else if (c === ",") out += `,\n${" ".repeat(depth)}`;
    else if (c === ":") out += ": ";
    else if (!/\s/.test(c)) out += c;
  }
  return out;
}
