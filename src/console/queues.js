// All queues with their live figures.

import { Refused, get, path } from './api.js';
import { timeline } from './chart.js';
import { curlBlock } from './curl.js';
import { KeyedList, button, cell, emptyState, h, setText, table } from './dom.js';
import { count, duration, figure, rate } from './format.js';
import { SAMPLES, latest, onSample, sampleOf } from './live.js';
import { deleteQueue, editQueue } from './queue_form.js';

/** The nodes of other queues than this node's own are asked for so rarely. */
const NODES_MS = 10000;
/** With more queues than this there is a field to find one. */
const MANY = 10;
const SERIES = ['pushes', 'completes', 'failures'];

const COLUMNS = [
  ['Queue', ''],
  ['Last 2 min', 'chart'],
  ['Pushed/s', 'number'],
  ['Done/s', 'number'],
  ['Failing/s', 'number'],
  ['Running', 'number'],
  ['Waiting', 'number'],
  ['Oldest', 'number'],
  ['Deferred', 'number'],
  ['Failed', 'number'],
  ['Primary', ''],
  ['', 'actions'],
];

export const queueLink = (name, tab = '') =>
  `#/queue/${encodeURIComponent(name)}${tab && `/${tab}`}`;

/** "3 of 20": by the node's own counters, or by the store where another node has the workers. */
export function running(backlog, stats, definition) {
  if (stats?.active_nodes) {
    return `${count(stats.total_workers - stats.idle_workers)} of ${count(stats.total_workers)}`;
  }
  if (!backlog || !definition) return '–';
  return `${figure(backlog.running)} of ${count(definition.max_workers)}`;
}

/** Which node is primary: a text, asked for at the daemon only where it is not this one. */
export async function primaryOf(name, signal) {
  if (sampleOf(name)?.stats.active_nodes) return 'this node';
  try {
    const node = await get(path('queue', name, 'node'), { signal });
    return node.host;
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return 'none';
    throw error;
  }
}

function makeRow(view, queue) {
  const { name } = queue;
  const figures = {};
  const plain = (label, key, kind = 'number') => {
    figures[key] = h('span', {}, '–');
    return cell(label, kind, figures[key]);
  };
  const link = (label, key, tab) => {
    figures[key] = h('a', { href: queueLink(name, tab) }, '–');
    return cell(label, 'number', figures[key]);
  };
  const chart = timeline(SERIES, SAMPLES);
  let definition = queue;
  const node = h('tr', { role: 'row' },
    cell('Queue', 'name', h('a', { href: queueLink(name) }, name)),
    cell('Last 2 min', 'chart', chart.node),
    plain('Pushed/s', 'pushes'),
    plain('Done/s', 'completes'),
    plain('Failing/s', 'failures'),
    link('Running', 'running', 'running'),
    link('Waiting', 'waiting', 'waiting'),
    plain('Oldest', 'oldest'),
    link('Deferred', 'deferred', 'deferred'),
    link('Failed', 'failed', 'failed'),
    plain('Primary', 'primary', ''),
    cell('', 'actions',
      button('Edit', () => view.change(() => editQueue(definition)),
        { class: 'small', 'aria-label': `Edit ${name}` }),
      button('Delete', () => view.change(() => deleteQueue(name)),
        { class: 'small', 'aria-label': `Delete ${name}` })));
  return {
    node,
    update(changed) {
      definition = changed;
      node.hidden = !name.toLowerCase().includes(view.wanted());
      const backlog = view.backlog[name];
      const sample = sampleOf(name);
      chart.update(SERIES.map((series) => sample?.series[series] ?? []));
      for (const series of SERIES) {
        const perSecond = latest(sample, series);
        setText(figures[series], rate(perSecond));
        figures[series].className = perSecond === 0 ? 'zero' : '';
      }
      if (latest(sample, 'failures') > 0) figures.failures.className = 'bad';
      setText(figures.running, running(backlog, sample?.stats, definition));
      setText(figures.primary, view.primaries.get(name) ?? '…');
      figures.primary.className = view.primaries.get(name) === 'none' ? 'bad' : '';
      if (!backlog) return;
      for (const key of ['waiting', 'deferred', 'failed']) {
        setText(figures[key], figure(backlog[key]));
        figures[key].className = backlog[key] === 0 ? 'zero' : '';
      }
      if (backlog.failed) figures.failed.className = 'bad';
      const isWaiting = backlog.oldest_waiting_at !== null;
      setText(figures.oldest, isWaiting ? duration(backlog.oldest_waiting_ms) : '–');
    },
  };
}

/** The sums over all queues. */
function makeTotals() {
  const labels = {
    pushes: 'pushed a second',
    completes: 'done a second',
    running: 'running',
    waiting: 'waiting',
    deferred: 'deferred',
    failed: 'failed',
  };
  const values = Object.fromEntries(Object.keys(labels).map((key) => [key, h('dd', {}, '–')]));
  const node = h('dl', { class: 'tiles' }, Object.entries(labels).map(([key, label]) =>
    h('div', { class: `tile ${key}` }, h('dt', {}, label), values[key])));
  return {
    node,
    update(queues, backlog) {
      const sum = (of) => queues.reduce((total, { name }) => total + of(name), 0);
      for (const key of ['pushes', 'completes']) {
        setText(values[key], rate(sum((name) => latest(sampleOf(name), key))));
      }
      for (const key of ['running', 'waiting', 'deferred', 'failed']) {
        setText(values[key], figure(sum((name) => backlog[name]?.[key] ?? 0)));
      }
    },
  };
}

class QueuesView {
  title = 'Queues';
  interval = 2000;
  backlog = {};
  primaries = new Map();
  queues = null;
  nodesAt = -Infinity;

  constructor() {
    const { node: tableNode, body } = table('Queues', COLUMNS);
    this.totals = makeTotals();
    this.search = h('input', {
      type: 'search', placeholder: 'Find a queue', 'aria-label': 'Find a queue', hidden: true,
      oninput: () => this.show(),
    });
    this.empty = emptyState('No queues yet', 'Create one, and route categories of jobs to it.');
    this.tableNode = h('div', { class: 'wide' }, tableNode);
    this.list = new KeyedList(body, (queue) => queue.name, (queue) => makeRow(this, queue));
    this.node = h('div', {},
      h('div', { class: 'head' }, h('h1', {}, 'Queues'),
        h('div', { class: 'tools' }, this.search,
          button('New queue', () => this.change(() => editQueue()), { class: 'primary' }))),
      this.totals.node, this.tableNode, this.empty,
      h('p', { class: 'legend' },
        h('span', { class: 'key pushes' }, 'pushed'),
        h('span', { class: 'key completes' }, 'done'),
        h('span', { class: 'key failures' }, 'failing tries'),
        h('span', {}, 'counted on this node')),
      h('details', { class: 'as-curl' }, h('summary', {}, 'As curl'),
        curlBlock({ path: 'queues' }).node, curlBlock({ path: 'queues/stats' }).node,
        curlBlock({ path: 'queues/backlog' }).node));
    this.empty.hidden = true;
    this.stop = onSample(() => this.show());
  }

  wanted() {
    return this.search.value.trim().toLowerCase();
  }

  /** Does something that changes queues, and looks again if it was done. */
  async change(action) {
    if (await action()) this.kick();
  }

  async refresh(signal) {
    const [queues, backlog] = await Promise.all([
      get('queues', { signal }), get('queues/backlog', { signal })]);
    Object.assign(this, { queues, backlog });
    this.show();
    await this.refreshNodes(signal);
  }

  async refreshNodes(signal) {
    const isDue = performance.now() - this.nodesAt > NODES_MS;
    for (const { name } of this.queues) {
      const isOurs = sampleOf(name)?.stats.active_nodes;
      if (isOurs) this.primaries.set(name, 'this node');
      else if (isDue || !this.primaries.has(name) || this.primaries.get(name) === 'this node') {
        this.primaries.set(name, await primaryOf(name, signal));
      }
    }
    if (isDue) this.nodesAt = performance.now();
    this.show();
  }

  show() {
    if (!this.queues) return;
    const isEmpty = this.queues.length === 0;
    this.empty.hidden = !isEmpty;
    this.tableNode.hidden = isEmpty;
    this.search.hidden = this.queues.length <= MANY;
    this.list.show(this.queues);
    this.totals.update(this.queues, this.backlog);
  }
}

export const queuesView = () => new QueuesView();
