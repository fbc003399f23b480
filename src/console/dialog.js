// Questions before something is changed. Each shows the curl command that does the same.

import { send } from './api.js';
import { curlBlock } from './curl.js';
import { button, h } from './dom.js';
import { fieldset } from './form.js';

/** Puts a dialog on the page until it is closed. Escape closes it. */
export function openDialog(title, content) {
  const heading = h('h2', { id: 'dialog-title' }, title);
  const node = h('dialog', { 'aria-labelledby': 'dialog-title' }, heading, content);
  node.addEventListener('close', () => {
    node.remove();
    // The row that the question came from may be gone meanwhile, and its button with it.
    if (document.activeElement === document.body) document.getElementById('main').focus();
  });
  document.body.append(node);
  node.showModal();
  return node;
}

/**
 * Asks, and sends what the answer leads to.
 *
 * `fields` as in form.js; `request(values)` answers `{ method, path, body }`; `check(values)` may
 * answer an objection of its own. Resolves to the text of the daemon's answer, or to `null` if
 * the question was given up.
 */
export function ask({ title, intro, fields = [], request, check, submit, isDangerous = false }) {
  return new Promise((resolve) => {
    const form = fieldset(fields);
    const command = curlBlock();
    const showCommand = () => command.showChecked(check, request, form.values());
    showCommand();
    const confirm = h('button', { type: 'submit', class: isDangerous ? 'danger' : 'primary' },
      submit);
    const node = h('form', { novalidate: true },
      intro && h('div', { class: 'intro' }, intro),
      form.node,
      h('details', { class: 'as-curl', open: true }, h('summary', {}, 'As curl'), command.node),
      h('div', { class: 'buttons' },
        button('Cancel', () => dialog.close()), confirm));
    let result = null;
    node.addEventListener('input', showCommand);
    node.addEventListener('submit', async (event) => {
      event.preventDefault();
      const objection = check?.(form.values());
      if (objection) {
        form.object(objection);
        return;
      }
      form.clear();
      confirm.disabled = true;
      try {
        result = await send(request(form.values()));
        dialog.close();
      } catch (error) {
        form.object(error.message);
      } finally {
        confirm.disabled = false;
      }
    });
    const dialog = openDialog(title, node);
    dialog.addEventListener('close', () => resolve(result));
    // With nothing to fill in, Enter confirms; what cannot be undone needs a step more.
    if (!fields.length) (isDangerous ? node.querySelector('.buttons button') : confirm).focus();
  });
}

/** Says at the edge of the page what has happened. */
export function notice(text, link = null) {
  const note = h('p', { class: 'notice' }, text, link && ' ', link);
  document.getElementById('notices').append(note);
  setTimeout(() => note.remove(), 8000);
}
