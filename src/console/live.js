// The counters of all queues, sampled each second while the page is visible, and what they did in
// the last two minutes. The one source of all figures per second and of the time-lines.

import { get } from './api.js';

/** Samples that are kept of each queue. */
export const SAMPLES = 120;
const INTERVAL_MS = 1000;
/** A sample after a longer pause does not continue the line. */
const PAUSE_MS = 5000;

/** What is counted, and from which counter. */
const COUNTERS = {
  pushes: 'total_pushes',
  completes: 'total_completes',
  failures: 'total_failures',
};

/** Queue name → `{ at, stats, series: { pushes, completes, failures } }`. */
const queues = new Map();
const listeners = new Set();

/** What is known of a queue; `undefined` before its first sample. */
export function sampleOf(name) {
  return queues.get(name);
}

/** The latest figure per second of a series; 0 where there is none yet. */
export function latest(sample, series) {
  return sample?.series[series].at(-1) ?? 0;
}

/** Calls `listener` after each sample, until the answered function is called. */
export function onSample(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function append(series, value) {
  series.push(value);
  if (series.length > SAMPLES) series.shift();
}

function record(name, stats, at) {
  const known = queues.get(name);
  if (!known) {
    const series = { pushes: [], completes: [], failures: [] };
    queues.set(name, { at, stats, series });
    return;
  }
  const passed = at - known.at;
  for (const [series, counter] of Object.entries(COUNTERS)) {
    const grown = stats[counter] - known.stats[counter];
    // A counter that shrinks belongs to a daemon that was started again.
    const isGap = passed > PAUSE_MS || grown < 0;
    append(known.series[series], isGap ? null : (grown * 1000) / passed);
  }
  Object.assign(known, { at, stats });
}

async function sample() {
  const all = await get('queues/stats');
  const at = performance.now();
  for (const [name, stats] of Object.entries(all)) record(name, stats, at);
  for (const name of queues.keys()) {
    if (!Object.hasOwn(all, name)) queues.delete(name);
  }
  for (const listener of listeners) listener();
}

/** Samples for as long as the page is there. */
export async function start() {
  for (;;) {
    if (!document.hidden) {
      // A failure shows in the banner, since the contact is noted with each request.
      await sample().catch(() => {});
    }
    await new Promise((resolve) => { setTimeout(resolve, INTERVAL_MS); });
  }
}
