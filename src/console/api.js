// Requests to the API of the daemon that served this page, and whether it can be reached.

import { preview } from './format.js';

/** Where the API is: beside the console, also behind a proxy that puts a prefix before it. */
export const ROOT = new URL('..', import.meta.url);

/** How long an answer may take before the daemon counts as away. */
const PATIENCE_MS = 8000;
/** The same for what changes many jobs at once. */
const LONG_PATIENCE_MS = 60000;
/** So much is shown of an answer that is no JSON. */
const MAX_SHOWN = 200;

/** The daemon answered with an error. `detail` is its own words. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail || `The daemon answered ${status}`);
    this.status = status;
  }
}

/** The daemon did not answer. */
export class Away extends Error {}

/** Whether the daemon answers. `listeners` are called when that changes, and on each failure. */
export const contact = {
  isLost: false,
  /** Milliseconds, by this browser's clock. */
  lastAnswer: Date.now(),
  /** What the daemon's clock is ahead of this browser's, in milliseconds. */
  clockAhead: 0,
  listeners: new Set(),

  set(isLost) {
    if (!isLost) this.lastAnswer = Date.now();
    if (isLost === this.isLost) return;
    this.isLost = isLost;
    for (const listener of this.listeners) listener(isLost);
  },
};

/** Now, by the daemon's clock, to about a second. */
export function now() {
  return Date.now() + contact.clockAhead;
}

function noteClock(answer) {
  const date = Date.parse(answer.headers.get('Date'));
  if (!Number.isNaN(date)) {
    const ahead = date + 500 - Date.now();
    contact.clockAhead = Math.abs(ahead) < 2000 ? 0 : ahead;
  }
}

/**
 * Sends a request and answers the text of the answer, which is JSON unless `isText`.
 *
 * Throws `Refused` for an answer that is an error, `Away` where there is none, and whatever
 * `signal` was aborted with.
 */
export async function send(
  { method = 'GET', path, body },
  { signal, isLong = false, isText = false } = {},
) {
  const patience = AbortSignal.timeout(isLong ? LONG_PATIENCE_MS : PATIENCE_MS);
  let answer;
  let text;
  try {
    answer = await fetch(new URL(path, ROOT), {
      method,
      body,
      cache: 'no-store',
      redirect: 'error',
      headers: { Accept: 'application/json, application/problem+json' },
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    contact.set(true);
    throw new Away('The daemon does not answer', { cause: error });
  }
  contact.set(false);
  noteClock(answer);
  if (!answer.ok) throw new Refused(answer.status, detailOf(text));
  const type = answer.headers.get('Content-Type') ?? 'nothing known';
  if (isText || type.includes('json')) return text;
  // Something between here and the daemon has answered, or it has taken the path for another.
  throw new Refused(answer.status, `no JSON but ${type}: ${preview(text, MAX_SHOWN)}`);
}

function detailOf(text) {
  try {
    const problem = JSON.parse(text);
    return problem.detail ?? problem.title ?? '';
  } catch {
    return preview(text, MAX_SHOWN);
  }
}

/** Asks for JSON whose numbers all fit. */
export async function get(path, options) {
  return JSON.parse(await send({ path }, options));
}

/** A path of the API, each part encoded: `path('queue', name, 'stats')`. */
export function path(...parts) {
  return parts.map(encodeURIComponent).join('/');
}

/**
 * A category within a path. Its slashes stay readable, except where a browser would take parts of
 * it for directions ("..").
 */
export function categoryPath(start, category) {
  const isPlain = category.split('/').every((part) => !['', '.', '..'].includes(part));
  const encoded = encodeURIComponent(category);
  return `${start}/${isPlain ? encoded.replaceAll('%2F', '/') : encoded}`;
}

/** A query of those parameters that have a value, with its question mark. */
export function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value);
  const text = new URLSearchParams(given).toString();
  return text && `?${text}`;
}
