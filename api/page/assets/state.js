// What the page shows. All of it is in the URL, so a link and the back button show the same.

export const RANGES = [["15m", "1m"], ["1h", "1m"], ["24h", "15m"], ["7d", "1h"], ["30d", "1d"]];
export const MORE = [["today", "Today"], ["yesterday", "Yesterday"], ["this_week", "This week"], ["this_month", "This month"], ["last_month", "Last month"], ["90d", "90 days"], ["365d", "A year"]];
export const DIMENSIONS = ["model", "provider", "agent", "user", "kind", "service", "operation", "service_tier", "error_class", "phone"];
export const MEASURES = {
  requests: "Requests", cost_usd: "Cost", total_tokens: "Tokens", input_tokens: "Tokens in", output_tokens: "Tokens out",
  cache_read_tokens: "Cached tokens", reasoning_tokens: "Reasoning tokens", errors: "Errors", error_rate: "Error rate",
  avg_latency_ms: "Mean latency", p95_latency_ms: "Latency p95", avg_first_output_ms: "Mean first output",
  cache_hit_share: "Cache hits", calls: "Calls", call_minutes: "Call minutes", tts_characters: "TTS characters",
  tts_audio_minutes: "TTS minutes", stt_audio_minutes: "STT minutes",
};
/** Measures that are quotients or percentiles: they are drawn as lines, because they cannot be stacked. */
export const LINES = new Set(["error_rate", "avg_latency_ms", "p95_latency_ms", "avg_first_output_ms", "cache_hit_share"]);
export const PRESETS = {
  overview: ["Overview", {}],
  agentlens: ["AgentLens: cost of agents", { measure: "cost_usd", by: "model", group: "agent", range: "30d", sort: "-cost_usd" }],
  openwebui: ["Open WebUI: users and models", { measure: "total_tokens", by: "model", group: "user", range: "30d", sort: "-total_tokens" }],
  livekit: ["LiveKit: calls and speech", { measure: "call_minutes", by: "service", group: "service", range: "30d", sort: "-calls" }],
};
const DEFAULTS = { tenant: "", range: "24h", from: "", to: "", tz: Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC", compare: true, measure: "requests", by: "model", group: "model", sort: "-requests", top: "10", timing: "latency" };
/** Which dimensions can be combined, by what is measured. The views of the default catalog (/v1/views). */
const VIEWS = {
  usage: [["kind", "provider", "model", "operation", "service_tier", "error_class", "agent"], ["kind", "user", "agent", "provider", "model", "operation", "service_tier"]],
  times: [["kind", "provider", "model", "operation", "service_tier", "error_class", "agent"], ["kind", "user"]],
  percentiles: [["kind", "provider", "model", "operation", "service_tier", "error_class", "agent"]],
  calls: [["kind", "service", "phone", "user"], ["kind", "user", "agent"]],
};
const OF_CALLS = new Set(["calls", "call_minutes"]);

export const state = { ...DEFAULTS, filters: {}, kiosk: false };

export function read() {
  const params = new URLSearchParams(location.search);
  Object.assign(state, DEFAULTS, { filters: {}, kiosk: params.has("kiosk") });
  for (const name of Object.keys(DEFAULTS)) {
    if (params.has(name)) state[name] = typeof DEFAULTS[name] === "boolean" ? params.get(name) !== "0" : params.get(name);
  }
  for (const name of DIMENSIONS) {
    for (const key of [name, `${name}!`]) {
      const values = params.getAll(key);
      if (values.length) state.filters[key] = values;
    }
  }
  if (!(state.measure in MEASURES)) state.measure = DEFAULTS.measure;
  for (const name of ["by", "group"]) if (!DIMENSIONS.includes(state[name])) state[name] = DEFAULTS[name];
}

export function url() {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(DEFAULTS)) {
    if (state[name] !== value) params.set(name, typeof value === "boolean" ? (state[name] ? "1" : "0") : state[name]);
  }
  for (const [name, values] of Object.entries(state.filters)) for (const value of values) params.append(name, value);
  if (state.kiosk) params.set("kiosk", "");
  const text = params.toString();
  return text ? `/?${text}` : "/";
}

/** The parameters of /v1/usage that all questions of the page share. */
export function shared() {
  const params = new URLSearchParams();
  if (state.from) {
    params.set("from", state.from);
    if (state.to) params.set("to", state.to);
  } else {
    params.set("from", /^\d/.test(state.range) ? `now-${state.range}` : state.range);
  }
  if (state.tz !== "UTC") params.set("tz", state.tz);
  for (const [name, values] of Object.entries(state.filters)) for (const value of values) params.append(name, escaped(value));
  return params;
}

/** The step of the buckets; views of users with other dimensions have no minutes. */
export function step(...more) {
  const dimensions = filtered(...more).filter((name) => name !== "kind");
  if (state.from || (dimensions.includes("user") && dimensions.length > 1)) return "auto";
  return RANGES.find(([name]) => name === state.range)?.[1] ?? "auto";
}

function filtered(...more) {
  return [...new Set([...Object.keys(state.filters).map((key) => key.replace("!", "")), ...more])];
}

/** Whether a view has these measures by the dimensions of all filters and these. */
export function fits(kind, ...more) {
  const dimensions = filtered(...more);
  return VIEWS[kind].some((view) => dimensions.every((name) => view.includes(name)));
}

export function kindOf(measure) {
  if (OF_CALLS.has(measure)) return "calls";
  if (/^p\d/.test(measure)) return "percentiles";
  return measure.startsWith("avg_first") ? "times" : "usage";
}

function escaped(value) {
  return value.replace(/[\\,]/g, "\\$&").replace(/\*$/, "\\*");
}

const USAGE = ["events", "requests", "errors", "error_rate", "cost_usd", "cost_coverage", "input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "cache_hit_share", "tts_characters", "stt_audio_minutes", "avg_latency_ms"];
const PERCENTILES = ["p50_latency_ms", "p95_latency_ms", "p99_latency_ms", "p50_first_output_ms", "p95_first_output_ms", "p99_first_output_ms"];
const COLUMNS = { usage: ["requests", "cost_usd", "total_tokens", "error_rate", "avg_latency_ms", "cost_coverage"], calls: ["calls", "call_minutes"] };

/** The questions of the page: one stream carries all, so all numbers are of one atomic read. */
export function questions() {
  const ask = (more) => {
    const params = shared();
    if (more.from) params.delete("to");
    for (const [name, value] of Object.entries(more)) params.set(name, value);
    return params.toString();
  };
  const compare = state.compare ? { compare: "previous" } : {};
  const found = {};
  if (fits("usage")) {
    const measures = [...USAGE, ...(fits("times") ? ["avg_first_output_ms"] : []), ...(fits("percentiles") ? PERCENTILES : [])].join();
    found.totals = ask({ measures, ...compare });
    found.series = ask({ measures, granularity: step() });
  }
  if (fits("calls")) {
    found.calls = ask({ measures: "calls,call_minutes", ...compare });
    found.callSeries = ask({ measures: "calls,call_minutes", granularity: step() });
  }
  if (fits("usage", "provider", "model")) {
    const month = { measures: "cost_usd,cost_coverage,requests", from: "this_month" };
    found.month = ask({ ...month, compare: "previous_month", group_by: "provider,model", limit: "10", order_by: "-cost_usd" });
    found.days = ask({ ...month, from: "last_month", to: "now", granularity: "1d" });
  }
  if (state.timing === "classes" && fits("usage", "error_class")) {
    found.classes = ask({ measures: "errors", group_by: "error_class", granularity: step("error_class"), limit: "8", "error_class!": "" });
  }
  if (fits(kindOf(state.measure), state.by)) {
    const measures = state.measure === "cost_usd" ? "cost_usd,cost_coverage,requests" : state.measure;
    found.main = ask({ measures, group_by: state.by, granularity: step(state.by), limit: "8" });
  }
  const kind = ["usage", "calls"].find((one) => fits(one, state.group));
  if (kind) {
    const sorted = state.sort.replace("-", ""), columns = new Set(COLUMNS[kind]);
    const canSort = sorted in MEASURES && fits(kindOf(sorted), state.group) && (kindOf(sorted) === kind || kind === "usage" && kindOf(sorted) !== "calls");
    if (canSort) columns.add(sorted);
    const order = canSort ? state.sort : `-${COLUMNS[kind][0]}`;
    found.table = ask({ measures: [...columns].join(), group_by: state.group, limit: state.top, order_by: order });
  }
  return found;
}
