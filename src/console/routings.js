// Which queue the jobs of a category go to.

import { categoryPath, get } from './api.js';
import { curlBlock } from './curl.js';
import { ask, notice } from './dialog.js';
import { KeyedList, button, cell, emptyState, h, setText, table } from './dom.js';
import { queueLink } from './queues.js';

/** Creates a routing, or changes the one that is given. Answers whether that was done. */
async function editRouting(routing = null) {
  const queues = await get('queues');
  const options = queues.map(({ name }) => ({ value: name, label: name }));
  const wanted = routing?.queue_name;
  // A queue that was deleted meanwhile still stands in the routing.
  if (wanted && !queues.some(({ name }) => name === wanted)) {
    options.unshift({ value: wanted, label: `${wanted} (not defined)` });
  }
  const answer = await ask({
    title: routing ? `Change the routing of ${routing.job_category}` : 'New routing',
    fields: [
      {
        name: 'category', label: 'Category', value: routing?.job_category, isRequired: true,
        isFixed: Boolean(routing), hint: routing ? '' : 'At most 255 bytes; slashes are allowed.',
        blames: /category/,
      },
      {
        name: 'queue_name', label: 'Queue', kind: 'select', options,
        value: wanted ?? options[0]?.value, blames: /queue/,
      },
    ],
    submit: routing ? 'Save' : 'Create',
    check: ({ category }) => {
      if (!category) return 'A routing needs a category.';
      return ['.', '..'].includes(category) ? 'This category cannot be sent in a path.' : null;
    },
    request: (values) => ({
      method: 'PUT',
      path: categoryPath('routing', values.category),
      body: JSON.stringify({ queue_name: values.queue_name }),
    }),
  });
  if (answer === null) return false;
  notice(routing ? 'The routing was changed.' : 'The routing was created.');
  return true;
}

async function deleteRouting(category) {
  const answer = await ask({
    title: `Delete the routing of ${category}?`,
    intro: 'Its jobs then go to the default queue; without one, pushes are refused.',
    submit: 'Delete the routing',
    isDangerous: true,
    request: () => ({ method: 'DELETE', path: categoryPath('routing', category) }),
  });
  if (answer === null) return false;
  notice('The routing was deleted.');
  return true;
}

function makeRow(view, routing) {
  const category = routing.job_category;
  const queue = h('a', {});
  let latest = routing;
  return {
    node: h('tr', { role: 'row' },
      cell('Category', 'name', category),
      cell('Queue', '', queue),
      cell('', 'actions',
        button('Change', () => view.change(() => editRouting(latest)),
          { class: 'small', 'aria-label': `Change the routing of ${category}` }),
        button('Delete', () => view.change(() => deleteRouting(category)),
          { class: 'small', 'aria-label': `Delete the routing of ${category}` }))),
    update(changed) {
      latest = changed;
      setText(queue, changed.queue_name);
      queue.href = queueLink(changed.queue_name);
    },
  };
}

class RoutingsView {
  title = 'Routings';
  interval = 5000;

  constructor() {
    const { node, body } = table('Routings', [['Category', ''], ['Queue', ''], ['', 'actions']]);
    this.list = new KeyedList(body, (routing) => routing.job_category,
      (routing) => makeRow(this, routing));
    this.tableNode = h('div', { class: 'wide', hidden: true }, node);
    this.empty = emptyState('No routings', 'Every category goes to the default queue.');
    this.empty.hidden = true;
    this.node = h('div', {},
      h('div', { class: 'head' }, h('h1', {}, 'Routings'),
        h('div', { class: 'tools' },
          button('New routing', () => this.change(() => editRouting()), { class: 'primary' }))),
      this.tableNode, this.empty,
      h('details', { class: 'as-curl' }, h('summary', {}, 'As curl'),
        curlBlock({ path: 'routings' }).node));
  }

  async change(action) {
    if (await action()) this.kick();
  }

  async refresh(signal) {
    const routings = await get('routings', { signal });
    this.list.show(routings);
    this.tableNode.hidden = routings.length === 0;
    this.empty.hidden = routings.length > 0;
  }
}

export const routingsView = () => new RoutingsView();
