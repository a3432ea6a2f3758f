// Numbers, times and small pieces of the document, as people read them. No state.

const UNITS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const MISSING = "–";

/** 1,234 · 12.3k · 4.56M; null is a dash, never 0. */
export function count(value) {
  if (value === null || value === undefined) return MISSING;
  const size = Math.abs(value);
  if (size < 10_000) return plain.format(Math.round(value * 10) / 10);
  const [unit, letter] = UNITS.find(([unit]) => size >= unit);
  const scaled = value / unit;
  return `${scaled.toFixed(Math.abs(scaled) < 10 ? 2 : Math.abs(scaled) < 100 ? 1 : 0)}${letter}`;
}

export function usd(value) {
  if (value === null || value === undefined) return MISSING;
  const size = Math.abs(value);
  if (size !== 0 && size < 0.01) return `$${Number(value.toPrecision(2)).toString()}`;
  return size < 10_000 ? `$${money.format(value)}` : `$${count(value)}`;
}

export function share(value) {
  if (value === null || value === undefined) return MISSING;
  const percent = value * 100;
  return `${percent !== 0 && percent < 1 ? percent.toFixed(2) : percent.toFixed(percent < 10 ? 1 : 0)}%`;
}

export function ms(value) {
  if (value === null || value === undefined) return MISSING;
  if (value < 1000) return `${Math.round(value)} ms`;
  return value < 60_000 ? `${(value / 1000).toFixed(value < 10_000 ? 2 : 1)} s` : `${plain.format(value / 60_000)} min`;
}

const BY_UNIT = { USD: usd, share, ms };

/** A value in the unit that the API states for its measure. */
export function amount(value, unit) {
  return (BY_UNIT[unit] ?? count)(value);
}

/** All digits, for tables and titles. */
export function exact(value, unit) {
  if (value === null || value === undefined) return "not known";
  const text = value.toLocaleString("en", { maximumFractionDigits: 9 });
  return unit === "USD" ? `$${text}` : `${text} ${unit}`;
}

export function change(now, before) {
  if (before === null || before === undefined || now === null || now === undefined) return null;
  if (before === 0) return now === 0 ? 0 : null;
  return (now - before) / Math.abs(before);
}

export function ago(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return s < 172_800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86_400)} days`;
}

const formats = new Map();

/** An instant in a zone; `kind`: time, minute, day or month. */
export function when(at, zone, kind) {
  const key = `${zone} ${kind}`;
  if (!formats.has(key)) {
    const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    const date = { month: "short", day: "numeric" };
    const options = {
      time: { ...clock, second: "2-digit" },
      minute: { ...date, ...clock },
      day: { ...date, weekday: "short" },
      month: { month: "long", year: "numeric" },
      clock,
      date,
    }[kind];
    formats.set(key, new Intl.DateTimeFormat("en-GB", { ...options, timeZone: zone }));
  }
  return formats.get(key).format(at);
}

export const name = (value, dimension) => (value === "" ? `(no ${dimension})` : value);

/** An element: el("td", { class: "number" }, "text", child). */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const $ = (id) => document.getElementById(id);

/** Change a text only if it differs: an equal one would be read aloud and laid out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
