// The jobs of a queue, a page at a time; each row unfolds.

import { path, query, send } from './api.js';
import { curlBlock } from './curl.js';
import { KeyedList, button, cell, emptyState, h, setText, table } from './dom.js';
import { ask, notice } from './dialog.js';
import {
  ZONE, bytes, count, duration, exactTime, plural, preview, time,
} from './format.js';
import { readPage } from './json.js';
import { payloadBlock, payloadPreview } from './payload.js';
import { queueLink } from './queues.js';
import { retryFailure } from './retry.js';

/** Rows of a page. */
const LIMIT = 50;
/** What a list may weigh for each millisecond until it is read again: large payloads are costly. */
const WEIGHT_PER_MS = 250;
/** A longer pause than this is told. */
const MAX_SILENT_MS = 4000;

/** What each tab shows: its path, its order, and what stands there when it is empty. */
export const TABS = {
  waiting: {
    label: 'Waiting', path: 'waiting', order: 'asc', key: 'jobs',
    empty: ['No waiting jobs', 'What is due is being worked on, or nothing is due.'],
  },
  running: {
    label: 'Running', path: 'grabbed', order: 'asc', key: 'jobs',
    empty: ['No running jobs', 'Nothing is with a worker at the moment.'],
  },
  deferred: {
    label: 'Deferred', path: 'deferred', order: 'asc', key: 'jobs',
    empty: ['No deferred jobs', 'No job waits for a later time or for its next try.'],
  },
  failed: {
    label: 'Failed', path: 'failed', order: null, key: 'failed_jobs',
    empty: ['No failed jobs', 'Every job so far has succeeded or may still be tried again.'],
  },
};

const JOB_COLUMNS = [['Job', 'id'], ['Category', ''], ['URL', 'url'], ['Next try', 'time'],
  ['Failed tries', 'number'], ['Payload', 'preview'], ['', 'actions']];
const FAILED_COLUMNS = [['Failure', 'id'], ['Category', ''], ['Failed at', 'time'],
  ['Message', 'preview'], ['Tries', 'number'], ['Payload', 'preview'], ['', 'actions']];

/** The page behind each cursor, to go back to; cursors are good for one queue and filter. */
const previous = new Map();

function deleteRow(queue, row, isFailure) {
  const what = isFailure ? 'failure' : 'job';
  return ask({
    title: `Delete ${what} ${row.id}?`,
    intro: row.status === 'grabbed'
      ? 'It is forgotten. The worker that has it is not stopped.'
      : 'It is gone for good.',
    submit: `Delete the ${what}`,
    isDangerous: true,
    request: () => ({
      method: 'DELETE',
      path: path('queue', queue, isFailure ? 'failed' : 'job', row.id),
    }),
  });
}

function facts(pairs) {
  return h('dl', { class: 'facts' }, pairs.map(([label, value]) =>
    h('div', {}, h('dt', {}, label), h('dd', {}, value))));
}

/** The message of a result, which may be anything. */
export function messageOf(result) {
  try {
    const { message, status } = JSON.parse(result);
    return String(message || status || '');
  } catch {
    return result;
  }
}

/** What a row unfolds to. */
function details(view, row, isFailure) {
  const entry = path('queue', view.queue, isFailure ? 'failed' : 'job', row.id);
  const times = isFailure
    ? [['Job', row.job_id], ['Failed', exactTime(row.failed_at)],
      ['Created', exactTime(row.created_at)],
      ['Tries', count(row.fail_count)]]
    : [['Next try', exactTime(row.next_try)], ['Created', exactTime(row.created_at)],
      ['Failed tries', `${count(row.fail_count)}; ${plural(row.max_retries, 'retry')
        .replace('retrys', 'retries')} at the most`],
      ['Between tries', `${count(row.retry_delay)} s`],
      ['Time for a try', row.timeout ? `${count(row.timeout)} s` : 'no limit of its own']];
  const again = isFailure && button('Edit and run again…', () =>
    view.change(() => retryFailure(view.queue, row, true)));
  return h('div', { class: 'details' },
    facts([['URL', row.url], ['Category', row.category], ...times]),
    isFailure && payloadBlock('Result', row.result),
    payloadBlock('Payload', row.payload),
    again && h('div', { class: 'buttons' }, again),
    curlBlock({ path: entry }).node);
}

/** A row and, below it, what it unfolds to: one group, so that they move together. */
function makeRow(view, row, isFailure) {
  const unfolded = h('tr', { role: 'row', class: 'unfolded', hidden: true });
  const toggle = h('button', {
    type: 'button', class: 'toggle', 'aria-expanded': 'false',
    'aria-label': `${isFailure ? 'Failure' : 'Job'} ${row.id}, details`,
    onclick() {
      unfolded.hidden = !unfolded.hidden;
      toggle.setAttribute('aria-expanded', String(!unfolded.hidden));
      // Made anew each time: a large payload takes no memory of the page while it is folded.
      unfolded.replaceChildren(...(unfolded.hidden ? [] : [
        h('td', { role: 'cell', colspan: '7' }, details(view, latest, isFailure))]));
    },
  }, row.id);
  let latest = row;
  const nextTry = h('span', {});
  const fails = h('span', {});
  const remove = button('Delete', () => view.change(async () => {
    if (await deleteRow(view.queue, row, isFailure) === null) return false;
    notice(`${isFailure ? 'Failure' : 'Job'} ${row.id} was deleted.`);
    return true;
  }), { class: 'small', 'aria-label': `Delete ${isFailure ? 'failure' : 'job'} ${row.id}` });
  const cells = isFailure
    ? [cell('Failed at', 'time', h('time', { title: row.failed_at }, time(row.failed_at))),
      cell('Message', 'preview', preview(messageOf(row.result))),
      cell('Tries', 'number', count(row.fail_count)),
      cell('Payload', 'preview code', payloadPreview(row.payload)),
      cell('', 'actions',
        button('Run again', () => view.change(() => retryFailure(view.queue, row)),
          { class: 'small', 'aria-label': `Run failure ${row.id} again` }), remove)]
    : [cell('URL', 'url', preview(row.url, 90)),
      cell('Next try', 'time', nextTry),
      cell('Failed tries', 'number', fails),
      cell('Payload', 'preview code', payloadPreview(row.payload)),
      cell('', 'actions', remove)];
  const node = h('tr', { role: 'row' },
    cell(isFailure ? 'Failure' : 'Job', 'id', toggle),
    cell('Category', 'category', preview(row.category, 60)), ...cells);
  return {
    node: h('tbody', { role: 'rowgroup' }, node, unfolded),
    update(changed) {
      latest = changed;
      if (isFailure) return;
      setText(nextTry, time(changed.next_try));
      setText(fails, changed.fail_count);
    },
  };
}

/** One tab's listing. `filter` are further parameters of the path. */
export class Listing {
  constructor(view, tab, filter, cursor) {
    this.tab = TABS[tab];
    this.cursor = cursor;
    this.filter = filter;
    const isFailure = tab === 'failed';
    const { node, body } = table(`${this.tab.label} jobs`,
      isFailure ? FAILED_COLUMNS : JOB_COLUMNS);
    body.remove();
    this.queue = view.queue;
    this.address = queueLink(view.queue, tab);
    this.list = new KeyedList(node, (row) => row.id, (row) => makeRow(view, row, isFailure));
    // The head of the table stays first.
    this.list.parent = {
      get firstChild() {
        return node.querySelector('tbody');
      },
      insertBefore: (child, before) => node.insertBefore(child, before),
    };
    this.tableNode = h('div', { class: 'wide' }, node);
    this.empty = Object.keys(filter).length
      ? emptyState('Nothing matches', 'No failed job fits the filter.')
      : emptyState(...this.tab.empty);
    this.view = view;
    this.isStale = true;
    this.pace = h('span', {});
    this.paceNode = h('p', { class: 'buttons hint', hidden: true }, this.pace,
      button('Read it now', () => this.lookAgain(), { class: 'small' }));
    this.pager = h('nav', { class: 'pager', 'aria-label': 'Pages of the list' });
    this.node = h('div', { class: 'listing' },
      h('p', { class: 'hint' }, `Times are in this browser’s zone, ${ZONE}.`),
      this.paceNode, this.tableNode, this.empty, this.pager,
      h('details', { class: 'as-curl' }, h('summary', {}, 'As curl'),
        curlBlock({ path: this.path() }).node));
    this.tableNode.hidden = true;
    this.empty.hidden = true;
  }

  path(cursor = this.cursor) {
    return path('queue', this.queue, this.tab.path) + query({
      ...this.filter, order: this.tab.order, limit: LIMIT, cursor,
    });
  }

  /** A page. One that found nothing in a long look leads on, to where there may be more. */
  async read(signal) {
    let [cursor, weight] = [this.cursor, 0];
    for (;;) {
      const text = await send({ path: this.path(cursor) }, { signal, isLong: true });
      const page = readPage(text, this.tab.key);
      weight += text.length;
      if (page.rows.length || !page.next) return { ...page, weight };
      cursor = page.next;
    }
  }

  /** Reads the list whether or not it is time for that. */
  lookAgain() {
    this.isStale = true;
    this.view.kick();
  }

  async refresh(signal) {
    if (!this.isStale && performance.now() < this.due) return;
    Object.assign(this, { isStale: false, due: 0 });
    const page = await this.read(signal);
    const pause = page.weight / WEIGHT_PER_MS;
    this.due = performance.now() + pause;
    this.paceNode.hidden = pause < MAX_SILENT_MS;
    setText(this.pace, `This list of ${bytes(page.weight)} was read at `
      + `${time(new Date().toISOString()).slice(11)} and is read again after ${duration(pause)}.`);
    this.list.show(page.rows);
    this.tableNode.hidden = page.rows.length === 0;
    this.empty.hidden = page.rows.length > 0;
    this.showPager(page);
  }

  showPager({ rows, next }) {
    const to = (cursor) => this.address + query({ ...this.filter, cursor });
    if (next) previous.set(next, this.cursor ?? '');
    const links = [];
    if (this.cursor) {
      links.push(h('a', { href: to('') }, 'First page'));
      const back = previous.get(this.cursor);
      if (back) links.push(h('a', { href: to(back) }, 'Previous page'));
    }
    if (next) links.push(h('a', { href: to(next), class: 'next' }, 'Next page'));
    const shown = rows.length && (links.length || rows.length > 1)
      ? h('span', {}, `${plural(rows.length, 'row')} on this page`) : null;
    // Only what has changed is put anew: a link may have the focus.
    const key = JSON.stringify([links.map((link) => link.href), shown?.textContent]);
    if (key !== this.pagerKey) {
      this.pagerKey = key;
      this.pager.replaceChildren(...[shown, ...links].filter(Boolean));
    }
  }
}
