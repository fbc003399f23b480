// One queue: its figures, its time-lines, and its jobs by what they wait for.

import { Refused, get, path, query } from './api.js';
import { timeline } from './chart.js';
import { button, h, setText } from './dom.js';
import { duration, figure, localTime, plural, rate } from './format.js';
import { Listing, TABS } from './listing.js';
import { SAMPLES, latest, onSample, sampleOf } from './live.js';
import { deleteQueue, editQueue } from './queue_form.js';
import { primaryOf, queueLink, running } from './queues.js';
import { doToAll } from './retry.js';

const CHARTS = { pushes: 'Pushed', completes: 'Done', failures: 'Failing tries' };
const NODE_MS = 10000;
const FILTER = ['category', 'message', 'since', 'until'];

function makeChart(series, label) {
  const chart = timeline([series], SAMPLES, 48);
  const value = h('strong', {}, '–');
  const peak = h('span', { class: 'hint' });
  const node = h('figure', { class: `chart-card ${series}` },
    h('figcaption', {}, label, ' ', value, h('span', { class: 'unit' }, ' /s'), peak), chart.node);
  return {
    node,
    update(sample) {
      const values = sample?.series[series] ?? [];
      chart.update([values]);
      setText(value, rate(latest(sample, series)));
      setText(peak, `peak ${rate(values.reduce((a, b) => Math.max(a, b ?? 0), 0))}, 2 min`);
    },
  };
}

/** The form above the failed jobs. A filter becomes part of the page's address. */
function filterForm(queue, filter, change) {
  const typed = { ...filter };
  for (const key of ['since', 'until']) {
    if (typed[key]) typed[key] = localTime(typed[key]).slice(0, 19);
  }
  const errors = {};
  const field = (name, label, attributes) => {
    errors[name] = h('span', { class: 'error', role: 'alert' });
    return h('label', {}, h('span', {}, label),
      h('input', { name, autocomplete: 'off', ...attributes, value: typed[name] ?? '' }),
      errors[name]);
  };
  const base = queueLink(queue, 'failed');
  const isFiltered = Object.keys(filter).length > 0;
  const form = h('form', {
    class: 'filter', role: 'search', 'aria-label': 'Filter failed jobs',
    onsubmit(event) {
      event.preventDefault();
      const wanted = Object.fromEntries([...new FormData(form)].map(([key, value]) => {
        const isTime = value && (key === 'since' || key === 'until');
        // The field holds the time of this browser's zone; the API wants to know which.
        return [key, isTime ? new Date(value).toISOString() : value];
      }));
      location.hash = base + query(wanted);
    },
  },
  field('category', 'Category', {}),
  field('message', 'Message contains', {}),
  field('since', 'Failed from', { type: 'datetime-local', step: '1' }),
  field('until', 'Failed until', { type: 'datetime-local', step: '1' }),
  h('div', { class: 'buttons' },
    h('button', { type: 'submit' }, 'Filter'),
    isFiltered && h('a', { href: base, class: 'button' }, 'Clear')));
  const which = isFiltered ? 'matching' : 'all';
  const deeds = h('div', { class: 'buttons' },
    button(`Run ${which} again…`, () => change(() => doToAll('retry', queue, filter))),
    button(`Delete ${which}…`, () => change(() => doToAll('delete', queue, filter)),
      { class: 'danger-quiet' }));
  return {
    node: h('div', { class: 'filter-bar' }, form, deeds),
    /** Shows at its field what the daemon objects to; answers whether it speaks of one. */
    object(message) {
      const name = FILTER.find((key) => message.includes(`parameter ${key} `));
      if (!name) return false;
      setText(errors[name], message);
      form.elements[name].setAttribute('aria-invalid', 'true');
      deeds.hidden = true;
      return true;
    },
  };
}

class QueueView {
  interval = 2000;
  definition = null;
  nodeAt = -Infinity;

  constructor(name, rest, parameters) {
    this.queue = name;
    this.title = name;
    this.charts = Object.entries(CHARTS).map(([series, label]) => makeChart(series, label));
    this.figures = Object.fromEntries(['running', 'oldest', 'primary', 'limit']
      .map((key) => [key, h('dd', {}, '–')]));
    const tile = (label, key) => h('div', { class: 'tile' }, h('dt', {}, label),
      this.figures[key]);
    this.tabs = Object.fromEntries(Object.entries(TABS).map(([tab, { label }]) => {
      const number = h('span', { class: 'badge' }, '–');
      return [tab, { number, link: h('a', { href: queueLink(name, tab) }, label, ' ', number) }];
    }));
    this.edit = button('Edit', () => this.change(() => editQueue(this.definition)));
    this.edit.disabled = true;
    this.panel = h('section', { class: 'panel', 'aria-label': 'Jobs' });
    this.node = h('div', {},
      h('div', { class: 'head' },
        h('h1', {}, h('a', { href: '#/queues', class: 'crumb' }, 'Queues'), ' / ', name),
        h('div', { class: 'tools' },
          h('a', { class: 'button', href: `#/job${query({ queue: name })}` }, 'New job'),
          this.edit, button('Delete', () => this.remove()))),
      h('dl', { class: 'tiles' }, tile('running', 'running'), tile('oldest waiting', 'oldest'),
        tile('primary node', 'primary'), tile('definition', 'limit')),
      h('div', { class: 'charts' }, this.charts.map((chart) => chart.node)),
      h('p', { class: 'hint' }, 'The charts show what this node does.'),
      h('nav', { class: 'tabs', 'aria-label': 'Jobs' },
        Object.values(this.tabs).map(({ link }) => link)),
      this.panel);
    this.stop = onSample(() => this.showLive());
    this.follow(rest, parameters);
  }

  /** Shows another tab, page or filter of the same queue. */
  follow([, tab], parameters) {
    const shown = Object.hasOwn(TABS, tab ?? '') ? tab : 'waiting';
    for (const [name, { link }] of Object.entries(this.tabs)) {
      if (name === shown) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    const filter = Object.fromEntries(shown === 'failed'
      ? FILTER.filter((key) => parameters[key]).map((key) => [key, parameters[key]]) : []);
    this.listing = new Listing(this, shown, filter, parameters.cursor);
    this.filter = shown === 'failed'
      ? filterForm(this.queue, filter, (action) => this.change(action)) : null;
    this.panel.replaceChildren(...(this.filter ? [this.filter.node] : []), this.listing.node);
  }

  /** Does something that changes the queue or its jobs, and looks again if it was done. */
  async change(action) {
    if (await action()) this.listing.lookAgain();
  }

  async remove() {
    if (await deleteQueue(this.queue)) location.hash = '#/queues';
  }

  async refresh(signal) {
    const { filter, listing } = this;
    const [definition, backlog] = await Promise.all([
      get(path('queue', this.queue), { signal }),
      get(path('queue', this.queue, 'backlog'), { signal }),
      listing.refresh(signal).catch((error) => {
        const isObjection = error instanceof Refused && error.status === 400;
        if (!isObjection || !filter?.object(error.message)) throw error;
      }),
    ]).catch((error) => {
      // A queue that is created again has its jobs again.
      if (error instanceof Refused && error.status === 404) this.panel.hidden = true;
      throw error;
    });
    this.panel.hidden = false;
    this.definition = definition;
    this.edit.disabled = false;
    this.backlog = backlog;
    for (const [tab, { number }] of Object.entries(this.tabs)) {
      setText(number, figure(backlog[tab]));
      number.classList.toggle('bad', tab === 'failed' && backlog.failed > 0);
    }
    const isWaiting = backlog.oldest_waiting_at !== null;
    setText(this.figures.oldest, isWaiting ? duration(backlog.oldest_waiting_ms) : '–');
    const perSecond = definition.max_dispatches_per_second;
    setText(this.figures.limit, [
      plural(definition.max_workers, 'worker'),
      perSecond ? `${rate(perSecond)}/s, bursts of ${definition.max_burst_size}` : null,
    ].filter(Boolean).join(', '));
    this.showLive();
    if (performance.now() - this.nodeAt > NODE_MS) {
      setText(this.figures.primary, await primaryOf(this.queue, signal));
      this.nodeAt = performance.now();
    }
  }

  showLive() {
    const sample = sampleOf(this.queue);
    for (const chart of this.charts) chart.update(sample);
    setText(this.figures.running, running(this.backlog, sample?.stats, this.definition));
  }
}

export const queueView = ([name = '', ...rest], parameters) =>
  new QueueView(name, [name, ...rest], parameters);
