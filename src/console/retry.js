// Running failed jobs again: one, or all that a filter finds.

import { Away, path, query, send } from './api.js';
import { curlBlock } from './curl.js';
import { ask, notice, openDialog } from './dialog.js';
import { button, h, setText } from './dom.js';
import { count, plural, time } from './format.js';
import { numberParts, objectText, objectionToJson } from './form.js';

const NUMBERS = ['run_after', 'timeout', 'retry_delay', 'max_retries'];
/** A larger payload is not put into a text field: it would only slow the page down. */
const MAX_EDITED = 200000;
/** How many jobs one request of a long walk takes. */
const STEP = 500;
/** What a job that runs again has lost. */
const LOST = 'The failure log does not keep timeout, retry delay and retries: they become 0';

const isLarge = (row) => row.payload.length > MAX_EDITED;

function editFields(row) {
  const fields = [
    { name: 'url', label: 'URL', value: row.url },
    {
      name: 'payload', label: 'Payload, JSON', kind: 'area', value: row.payload,
      blames: /Cannot parse body/,
      hint: 'A JSON string arrives at the worker as its text. Empty: as an empty body.',
    },
    { name: 'run_after', label: 'Run after, s', kind: 'number', hint: 'Empty: at once.' },
    { name: 'timeout', label: 'Timeout, s', kind: 'number', hint: 'Empty: 0, none of its own.' },
    { name: 'retry_delay', label: 'Retry delay, s', kind: 'number', hint: 'Empty: 0.' },
    { name: 'max_retries', label: 'Retries', kind: 'number', hint: 'Empty: 0.' },
  ];
  return isLarge(row) ? fields.filter(({ name }) => name !== 'payload') : fields;
}

function intro(row, isEdited) {
  if (!isEdited) return `It becomes a new job, and leaves the list of failures. ${LOST}.`;
  return `${LOST} unless they are given here.`
    + (isLarge(row) ? ' The payload is too large to be edited here and stays as it is.' : '');
}

/** Whether a payload was edited. In a text field all ends of lines are alike. */
function isChanged(row, { payload }) {
  return payload !== undefined && payload !== row.payload.replace(/\r\n?/g, '\n');
}

/** The text of an edited payload. No payload and `null` would leave the old one. */
function payloadText(typed) {
  const text = typed.trim();
  return text === '' || text === 'null' ? '""' : text;
}

/** What differs from the failed job, as the text of an object; `undefined` if nothing does. */
function edits(row, values) {
  const body = objectText([
    ['url', values.url === row.url ? null : JSON.stringify(values.url)],
    ['payload', isChanged(row, values) ? payloadText(values.payload) : null],
    ...numberParts(values, NUMBERS),
  ]);
  return body === '{}' ? undefined : body;
}

/** Runs a failed job again, perhaps changed. Answers whether that was done. */
export async function retryFailure(queue, row, isEdited = false) {
  const answer = await ask({
    title: `Run failure ${row.id} again`,
    intro: intro(row, isEdited),
    fields: isEdited ? editFields(row) : [],
    submit: 'Run again',
    check: (values) => (isChanged(row, values) ? objectionToJson(values.payload) : null),
    request: (values) => ({
      method: 'POST',
      path: path('queue', queue, 'failed', row.id, 'retry'),
      body: isEdited ? edits(row, values) : undefined,
    }),
  });
  if (answer === null) return false;
  notice(`Failure ${row.id} runs again.`);
  return true;
}

const DEEDS = {
  retry: {
    method: 'POST', end: ['retry'], title: 'Run failed jobs again', submit: 'Run them again',
    done: 'run again',
    intro: `Each becomes a new job and leaves the list of failures. ${LOST}.`,
  },
  delete: {
    method: 'DELETE', end: [], title: 'Delete failed jobs', submit: 'Delete them',
    done: 'deleted', intro: 'They are gone for good.',
  },
};

function filterText(filter) {
  const words = {
    category: 'of the category',
    message: 'whose message contains',
    since: 'that failed from',
    until: 'that failed until',
  };
  const shown = (key, value) => (['since', 'until'].includes(key) ? time(value) : value);
  return Object.entries(filter)
    .map(([key, value]) => ` ${words[key]} “${shown(key, value)}”`).join(',');
}

/**
 * Walks over all failures that the filter finds, `STEP` at a time, from the latest to the oldest,
 * so that what fails again meanwhile is not met twice. Answers whether anything was done.
 */
export function doToAll(deedName, queue, filter) {
  const deed = DEEDS[deedName];
  const request = (cursor) => ({
    method: deed.method,
    path: path('queue', queue, 'failed', ...deed.end) + query({ ...filter, limit: STEP, cursor }),
  });
  return new Promise((resolve) => {
    let [done, cursor, isStopping] = [0, '', false];
    let walk = Promise.resolve();
    const bar = h('progress', { 'aria-label': 'Under way', hidden: true });
    const state = h('p', { class: 'state', role: 'status' });
    const trouble = h('p', { class: 'error', role: 'alert' });
    const cancel = button('Cancel', () => dialog.close());
    const submit = button(deed.submit, () => { walk = start(); },
      { class: deedName === 'delete' ? 'danger' : 'primary' });

    async function start() {
      submit.hidden = true;
      bar.hidden = false;
      trouble.textContent = '';
      setText(cancel, 'Stop');
      try {
        do {
          const answer = JSON.parse(await send(request(cursor), { isLong: true }));
          done += answer.count;
          cursor = answer.next_cursor;
          setText(state, `${plural(done, 'job')} ${deed.done} so far…`);
        } while (cursor && !isStopping);
        setText(state, `${plural(done, 'job')} ${deed.done}.`);
        setText(cancel, 'Close');
        cancel.focus();
      } catch (error) {
        const known = error instanceof Away ? ', as far as is known' : '';
        setText(state, `${plural(done, 'job')} ${deed.done}${known}.`);
        trouble.textContent = error.message;
        setText(cancel, 'Close');
        setText(submit, 'Go on');
        submit.hidden = false;
      }
      bar.hidden = true;
    }

    const note = `One request takes ${count(STEP)}. Repeat it with &cursor= and the next_cursor of `
      + 'the answer, until that is empty.';
    const dialog = openDialog(deed.title, h('div', {},
      h('p', { class: 'intro' }, 'All failed jobs of the queue ',
        h('strong', {}, queue), `${filterText(filter)}. ${deed.intro}`),
      bar, state, trouble,
      h('details', { class: 'as-curl', open: true }, h('summary', {}, 'As curl'),
        curlBlock(request(''), note).node),
      h('div', { class: 'buttons' }, cancel, submit)));
    cancel.focus();
    dialog.addEventListener('close', async () => {
      // A request that is under way is not cut off: what it does would not be counted.
      isStopping = true;
      await walk;
      if (done) notice(`${plural(done, 'job')} ${deed.done}.`);
      resolve(done > 0);
    });
  });
}
