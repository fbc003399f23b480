// Creating, changing and deleting a queue.

import { path } from './api.js';
import { ask, notice } from './dialog.js';
import { numberParts, objectText } from './form.js';

const NUMBERS = ['max_workers', 'polling_interval', 'max_dispatches_per_second', 'max_burst_size'];

function fields(queue) {
  const value = (name) => (queue?.[name] ? String(queue[name]) : '');
  return [
    {
      name: 'name',
      label: 'Name',
      value: queue?.name,
      isFixed: Boolean(queue),
      isRequired: true,
      hint: queue ? '' : 'At most 46 characters.',
      blames: /\bname\b|share/,
    },
    {
      name: 'max_workers',
      label: 'Workers',
      kind: 'number',
      value: value('max_workers'),
      hint: 'How many jobs run at once. Empty: the default.',
    },
    {
      name: 'polling_interval',
      label: 'Polling interval, ms',
      kind: 'number',
      value: value('polling_interval'),
      hint: 'How often due jobs are looked for. Empty: the default. Throttled queues use 100.',
    },
    {
      name: 'max_dispatches_per_second',
      label: 'Jobs per second',
      kind: 'number',
      value: value('max_dispatches_per_second'),
      hint: 'The most that start in a second. Empty: no limit.',
    },
    {
      name: 'max_burst_size',
      label: 'Burst',
      kind: 'number',
      value: value('max_burst_size'),
      hint: 'How many may start at once after a pause. Needed with a limit.',
    },
  ];
}

/** What a name must not be, since a browser cannot send it in a path. */
function checkName({ name }) {
  if (!name) return 'A queue needs a name.';
  return ['.', '..'].includes(name) ? 'This name cannot be sent in a path.' : null;
}

/** Creates a queue, or changes the one that is given. Answers whether that was done. */
export async function editQueue(queue = null) {
  const answer = await ask({
    title: queue ? `Change ${queue.name}` : 'New queue',
    fields: fields(queue),
    submit: queue ? 'Save' : 'Create',
    check: checkName,
    request: (values) => ({
      method: 'PUT',
      path: path('queue', values.name),
      body: objectText(numberParts(values, NUMBERS)),
    }),
  });
  if (answer === null) return false;
  notice(queue ? `The queue ${queue.name} was changed.` : 'The queue was created.');
  return true;
}

/** Deletes a queue's definition. */
export async function deleteQueue(name) {
  const answer = await ask({
    title: `Delete ${name}?`,
    intro: 'Its jobs and failures stay stored and come back if a queue of this name is created '
      + 'again. Its routings stay too: pushes to them are refused until then.',
    submit: 'Delete the queue',
    isDangerous: true,
    request: () => ({ method: 'DELETE', path: path('queue', name) }),
  });
  if (answer === null) return false;
  notice(`The queue ${name} was deleted.`);
  return true;
}
