// Numbers and times as people read them.

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

/** A count: 12,345. */
export function count(number) {
  return WHOLE.format(number);
}

/** A figure of a backlog: the daemon counts no further than a million. */
export function figure(number) {
  return number >= 1e6 ? `${count(number)}+` : count(number);
}

/** A count with its noun: "1 job", "2 jobs". */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? '' : 's'}`;
}

/** A figure per second: whole from 10 on. */
export function rate(number) {
  return number >= 10 ? WHOLE.format(number) : TENTHS.format(number);
}

/** A span of time in its two largest units: "3 min 20 s". */
export function duration(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  const pair = (large, small) => (small ? `${large} ${small}` : large);
  if (s < 3600) return pair(`${Math.floor(s / 60)} min`, s % 60 ? `${s % 60} s` : '');
  const minutes = Math.floor(s / 60);
  if (minutes < 1440) {
    return pair(`${Math.floor(minutes / 60)} h`, minutes % 60 ? `${minutes % 60} min` : '');
  }
  const hours = Math.floor(minutes / 60);
  return pair(`${count(Math.floor(hours / 24))} d`, hours % 24 ? `${hours % 24} h` : '');
}

/** A size: "1.2 MB". */
export function bytes(size) {
  if (size < 1000) return `${size} B`;
  if (size < 1e6) return `${TENTHS.format(size / 1e3)} kB`;
  return size < 1e9 ? `${TENTHS.format(size / 1e6)} MB` : `${TENTHS.format(size / 1e9)} GB`;
}

/** This browser's time zone, in which all times are shown and typed. */
export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/**
 * A time of the API, RFC 3339 or milliseconds since 1970, in this browser's zone:
 * `2026-01-31T23:59:59.999`; nothing for what is no time.
 */
export function localTime(value) {
  const date = new Date(/^\d+$/.test(value) ? Number(value) : value);
  if (Number.isNaN(date.getTime())) return '';
  return new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, -1);
}

/** The same as people write it. */
export function exactTime(value) {
  return localTime(value).replace('T', ' ');
}

/** The same to the second. */
export function time(value) {
  return exactTime(value).slice(0, 19);
}

/** Text on one line, and not too long. */
export function preview(text, length = 140) {
  const line = text.slice(0, length + 1).replace(/\s+/g, ' ').trim();
  return text.length > length ? `${line.slice(0, length)}…` : line;
}
