// The node that serves this page: version, process, store, settings, and who is primary for what.

import { get, send } from './api.js';
import { curlBlock } from './curl.js';
import { KeyedList, cell, h, setText, table } from './dom.js';
import { bytes, count } from './format.js';
import { sampleOf } from './live.js';
import { primaryOf, queueLink } from './queues.js';

const STORES = {
  'in-memory': 'in memory',
  sqlite: 'embedded',
  mysql: 'MySQL',
};

function makeSetting([name]) {
  const value = h('span', {});
  return {
    node: h('tr', { role: 'row' },
      cell('Setting', 'name code', name), cell('Value', 'code', value)),
    update: ([, text]) => {
      setText(value, text === '' ? 'not set' : text);
      value.className = text === '' ? 'zero' : '';
    },
  };
}

function makePrimary({ name }) {
  const node = h('span', {});
  return {
    node: h('tr', { role: 'row' },
      cell('Queue', 'name', h('a', { href: queueLink(name) }, name)), cell('Primary', '', node)),
    update({ primary }) {
      setText(node, primary ?? '…');
      node.className = primary === 'none' ? 'bad' : '';
    },
  };
}

class NodeView {
  title = 'Node';
  interval = 10000;

  constructor() {
    const labels = {
      version: 'version', store: 'store', threads: 'threads', memory: 'memory', cpus: 'processors',
    };
    this.values = Object.fromEntries(Object.keys(labels).map((key) => [key, h('dd', {}, '–')]));
    const settings = table('Settings', [['Setting', ''], ['Value', '']]);
    const primaries = table('Primary nodes', [['Queue', ''], ['Primary', '']]);
    this.settings = new KeyedList(settings.body, ([name]) => name, makeSetting);
    this.primaries = new KeyedList(primaries.body, ({ name }) => name, makePrimary);
    this.node = h('div', {},
      h('div', { class: 'head' }, h('h1', {}, 'Node')),
      h('dl', { class: 'tiles' }, Object.entries(labels).map(([key, label]) =>
        h('div', { class: 'tile' }, h('dt', {}, label), this.values[key]))),
      h('div', { class: 'columns' },
        h('section', {}, h('h2', {}, 'Primary nodes'),
          h('div', { class: 'wide pairs' }, primaries.node)),
        h('section', {}, h('h2', {}, 'Settings'),
          h('div', { class: 'wide pairs' }, settings.node))),
      h('details', { class: 'as-curl' }, h('summary', {}, 'As curl'),
        ['version', 'settings', 'stats', 'queues'].map((path) => curlBlock({ path }).node)));
  }

  /** Each part by itself: while its store is away the node can still tell the others. */
  async refresh(signal) {
    const parts = await Promise.allSettled([this.refreshVersion(signal),
      this.refreshSettings(signal), this.refreshStats(signal), this.refreshPrimaries(signal)]);
    const failed = parts.find(({ status }) => status === 'rejected');
    if (failed) throw failed.reason;
  }

  async refreshVersion(signal) {
    const version = await send({ path: 'version' }, { signal, isText: true });
    setText(this.values.version, version.trim().replace('Fireworq ', ''));
  }

  async refreshSettings(signal) {
    const settings = await get('settings', { signal });
    setText(this.values.store, STORES[settings.driver] ?? settings.driver);
    this.settings.show(Object.entries(settings));
  }

  async refreshStats(signal) {
    const stats = await get('stats', { signal });
    setText(this.values.threads, count(stats.goroutine_num));
    setText(this.values.memory, bytes(stats.memory_alloc));
    setText(this.values.cpus, count(stats.cpu_num));
  }

  async refreshPrimaries(signal) {
    const queues = await get('queues', { signal });
    const found = queues.map(({ name }) => ({
      name, primary: sampleOf(name)?.stats.active_nodes ? 'this node' : null,
    }));
    this.primaries.show(found);
    // One after the other: there may be hundreds, and nobody is in a hurry.
    for (const entry of found) {
      entry.primary ??= await primaryOf(entry.name, signal);
      this.primaries.show(found);
    }
  }
}

export const nodeView = () => new NodeView();
