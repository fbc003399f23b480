// Handing in a job.

import { categoryPath, get, send } from './api.js';
import { curlBlock } from './curl.js';
import { h } from './dom.js';
import { fieldset, numberParts, objectText, objectionToJson } from './form.js';
import { members } from './json.js';
import { queueLink } from './queues.js';

const NUMBERS = ['run_after', 'timeout', 'retry_delay', 'max_retries'];

const seconds = (name, label, hint) => ({ name, label, hint, kind: 'number', placeholder: '0' });

function fields(category, categories) {
  return [
    {
      name: 'category', label: 'Category', value: category, isRequired: true,
      suggestions: categories, blames: /category/i, hint: 'It decides which queue takes the job.',
    },
    {
      name: 'url', label: 'URL', isRequired: true, placeholder: 'http://127.0.0.1:3000/',
      hint: 'Where the payload is POSTed: http or https.',
    },
    {
      name: 'kind', label: 'The payload is', kind: 'select', value: 'json',
      options: [{ value: 'json', label: 'JSON, sent as it is written' },
        { value: 'text', label: 'text' }],
    },
    {
      name: 'payload', label: 'Payload', kind: 'area', blames: /Cannot parse body/,
      placeholder: '{"to": "a@example.com"}', hint: 'Empty: the worker receives an empty body.',
    },
    seconds('run_after', 'Run after, s', 'Before the first try.'),
    seconds('timeout', 'Timeout, s', 'For each try; 0 for none of its own.'),
    seconds('max_retries', 'Retries', 'Further tries after a failed one.'),
    seconds('retry_delay', 'Retry delay, s', 'Between two tries.'),
  ];
}

function request(values) {
  const { payload, kind } = values;
  const text = kind === 'text' ? payload && JSON.stringify(payload) : payload.trim();
  return {
    method: 'POST',
    path: categoryPath('job', values.category),
    body: objectText([
      ['url', JSON.stringify(values.url)],
      ['payload', text || null],
      ...numberParts(values, NUMBERS),
    ]),
  };
}

/** What would change the meaning of the whole body: the daemon could only object to all of it. */
function check({ category, kind, payload }) {
  if (!category) return 'A job needs a category.';
  if (['.', '..'].includes(category)) return 'This category cannot be sent in a path.';
  return kind === 'json' ? objectionToJson(payload) : null;
}

class JobView {
  title = 'New job';
  interval = 60000;

  constructor({ queue }) {
    this.holder = h('div', {});
    this.node = h('div', { class: 'narrow' },
      h('div', { class: 'head' }, h('h1', {}, 'New job')), this.holder);
    this.wanted = queue;
  }

  async refresh(signal) {
    // Once: what somebody types is not to be taken away.
    if (this.form) return;
    const routings = await get('routings', { signal });
    const fitting = routings.find(({ queue_name: name }) => name === this.wanted);
    const categories = routings.map(({ job_category: category }) => category);
    this.build(fitting?.job_category ?? '', categories);
  }

  build(category, categories) {
    this.form = fieldset(fields(category, categories));
    const command = curlBlock();
    const showCommand = () => command.showChecked(check, request, this.form.values());
    showCommand();
    const submit = h('button', { type: 'submit', class: 'primary' }, 'Hand in the job');
    const result = h('p', { class: 'result', role: 'status' });
    const node = h('form', { class: 'card', novalidate: true }, this.form.node,
      h('details', { class: 'as-curl', open: true }, h('summary', {}, 'As curl'), command.node),
      h('div', { class: 'buttons' }, submit), result);
    node.addEventListener('input', showCommand);
    node.addEventListener('submit', async (event) => {
      event.preventDefault();
      result.replaceChildren();
      const objection = check(this.form.values());
      if (objection) {
        this.form.object(objection);
        return;
      }
      this.form.clear();
      submit.disabled = true;
      try {
        const answer = new Map(members(await send(request(this.form.values()))));
        const queue = JSON.parse(answer.get('queue_name'));
        result.append(`Job ${answer.get('id')} is stored in the queue `,
          h('a', { href: queueLink(queue) }, queue), '.');
      } catch (error) {
        this.form.object(error.message);
      } finally {
        submit.disabled = false;
      }
    });
    this.holder.replaceChildren(node);
  }
}

export const jobView = (_, parameters) => new JobView(parameters);
