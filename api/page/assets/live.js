// The stream of answers, and the few other requests. `fetch` and not EventSource, which tells no status.

const RETRY_MS = [500, 1000, 2000, 5000];
const SILENT_MS = 10_000;

export const session = { csrf: null, who: null };

export async function signIn(body) {
  const answer = await fetch("/v1/session", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error((await answer.json()).detail);
  return remember(await answer.json());
}

export async function whoami() {
  const answer = await fetch("/v1/session");
  if (answer.status === 401) return null;
  if (!answer.ok) throw new Error((await answer.json()).detail);
  return remember(await answer.json());
}

export async function signOut() {
  await fetch("/v1/session", { method: "DELETE", headers: { "x-odometer-csrf": session.csrf ?? "" } });
}

/** The body of an answer, never from a cache. Throws with the sentence of the API. */
export async function get(path, options = {}) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail);
  return body;
}

export function post(path, body) {
  return get(path, { method: "POST", headers: { "content-type": "application/json", "x-odometer-csrf": session.csrf ?? "" }, body: JSON.stringify(body) });
}

/** Ask every so often, while a panel is seen. Returns a function that asks again at once. */
export function whileSeen(root, everyMs, ask, failed = () => {}) {
  let timer = 0, isSeen = false;
  const run = async () => {
    timer = -1;
    try {
      if (!document.hidden && session.who) await ask();
    } catch (error) {
      failed(error.message || "The API does not answer.");
    }
    timer = isSeen ? setTimeout(run, everyMs) : 0;
  };
  new IntersectionObserver(([entry]) => {
    isSeen = entry.isIntersecting;
    if (isSeen && !timer) run();
  }).observe(root);
  return () => {
    if (timer < 0) return;
    clearTimeout(timer);
    timer = 0;
    if (isSeen) run();
  };
}

function remember(who) {
  session.csrf = who.csrf;
  session.who = who;
  return who;
}

/** The answers of several questions, kept up to date: `told(answers, state, changed)`. */
export class Live {
  constructor({ told, stateOf, lost, refused, ended }) {
    Object.assign(this, { told, stateOf, lost, refused, ended });
    this.names = [];
    this.answers = {};
    this.path = "";
    this.tries = 0;
  }

  ask(questions, tenant) {
    const params = new URLSearchParams();
    for (const text of Object.values(questions)) params.append("question", text);
    if (tenant) params.set("tenant", tenant);
    const path = `/v1/stream?${params}`;
    if (path === this.path && this.control) {
      this.told(this.answers, null, []);
      return;
    }
    this.stop();
    this.path = path;
    this.names = Object.keys(questions);
    this.lastId = "";
    this.tries = 0;
    this.#connect();
  }

  stop() {
    this.control?.abort();
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    this.control = null;
  }

  async #connect() {
    const control = (this.control = new AbortController());
    try {
      const headers = this.lastId ? { "last-event-id": this.lastId } : {};
      const answer = await fetch(this.path, { headers, signal: control.signal, cache: "no-store" });
      if (!answer.ok) {
        const problem = await answer.json();
        if (answer.status === 401) return this.ended(problem.detail);
        if (answer.status !== 429 && answer.status < 500) return this.refused(problem.detail);
        throw new Error(problem.detail);
      }
      this.tries = 0;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ; ) {
        this.#watch(control);
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        const blocks = text.split("\n\n");
        text = blocks.pop();
        blocks.forEach((block) => this.#take(block));
      }
      throw new Error("");
    } catch (error) {
      clearTimeout(this.silence);
      if (this.control !== control) return;
      this.lost(error.name === "TypeError" || error.name === "AbortError" ? "" : error.message);
      this.timer = setTimeout(() => this.#connect(), RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)]);
    }
  }

  /** The stream says something every second. Silence is a lost connection. */
  #watch(control) {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => control.abort(), SILENT_MS);
  }

  #take(block) {
    const lines = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
    const data = JSON.parse(lines.data);
    if (lines.event === "end") return this.lost(data.reason);
    if (lines.event !== "state") {
      this.lastId = lines.id;
      if (lines.event === "snapshot") this.answers = {};
      const changed = data.answers.map((part) => this.#apply(part, lines.event === "snapshot"));
      this.told(this.answers, data, changed);
    }
    this.stateOf(data);
  }

  #apply(part, isWhole) {
    const name = this.names[part.question];
    if (isWhole) {
      this.answers[name] = part;
      return name;
    }
    const answer = this.answers[name];
    const label = (row) => JSON.stringify(Object.entries(row).filter(([key]) => key !== "partial" && !(key in answer.measures)));
    if (part.rows.length || part.removed.length) {
      const rows = new Map(answer.rows.map((row) => [label(row), row]));
      for (const row of part.removed) rows.delete(label(row));
      for (const row of part.rows) rows.set(label(row), row);
      answer.rows = [...rows.values()];
    }
    for (const key of ["range", "totals", "estimates", "previous", "comparison"]) if (key in part) answer[key] = part[key];
    return name;
  }
}
