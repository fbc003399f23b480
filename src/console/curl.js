// The command line that does what the console does.

import { ROOT } from './api.js';
import { button, h } from './dom.js';

/** Longer bodies are better kept in a file; a shell takes about 128 KiB in one word. */
const MAX_BODY = 8000;
/** Where a longer one is. */
const BODY_FILE = 'body.json';

const isLong = (body) => body.length > MAX_BODY;

/** One word of a POSIX shell: nothing inside single quotes means anything but a single quote. */
export function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The command for a request of `path` below the API's root, with a body where there is one. */
export function curl({ method = 'GET', path, body }) {
  const words = ['curl'];
  const url = new URL(path, ROOT).href;
  // An address of IPv6 stands in brackets, which curl would take for a range.
  if (url.includes('[')) words.push('-g');
  if (method !== 'GET' && !(method === 'POST' && body !== undefined)) words.push('-X', method);
  words.push(quote(url));
  if (body === undefined) return words.join(' ');
  const data = isLong(body) ? `--data-binary ${quote(`@${BODY_FILE}`)}` : `-d ${quote(body)}`;
  return `${words.join(' ')} \\\n  ${data}`;
}

/** Hands out the body of a request as the file that its command reads. */
function saveBody(body) {
  const url = URL.createObjectURL(new Blob([body], { type: 'application/json' }));
  h('a', { href: url, download: BODY_FILE }).click();
  // The browser reads it a moment later.
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

/** A block that shows a command and copies it. */
export function curlBlock(request = null, note = '') {
  const code = h('code', { class: 'curl-line' });
  const status = h('span', { class: 'sr', role: 'status' });
  const copy = button('Copy', async () => {
    const isCopied = await copyText(code);
    copy.textContent = isCopied ? 'Copied' : 'Selected';
    status.textContent = isCopied ? 'The command was copied' : 'The command is selected';
    setTimeout(() => { copy.textContent = 'Copy'; }, 2000);
  }, { class: 'small', 'aria-label': 'Copy the curl command' });
  let body = '';
  const hint = h('p', { class: 'hint' });
  const long = h('div', { class: 'buttons' },
    h('span', { class: 'hint' }, `The command reads the body from a file, ${BODY_FILE}.`),
    button(`Save ${BODY_FILE}`, () => saveBody(body), { class: 'small' }));
  const node = h('div', { class: 'curl' }, code, copy, status, hint, long);

  /** Shows the command of a request, or, where there is none yet, why. */
  function show(changed, reason = note) {
    code.textContent = changed ? curl(changed) : '';
    for (const part of [code, copy]) part.hidden = !changed;
    hint.textContent = reason;
    hint.hidden = !reason;
    body = changed?.body ?? '';
    long.hidden = !isLong(body);
  }

  /** The same for what was typed: no command where `check` objects to it. */
  function showChecked(check, requestOf, values) {
    const objection = check?.(values);
    if (objection) show(null, objection);
    else show(requestOf(values));
  }

  show(request);
  return { node, showChecked };
}

/** Copies what a node shows. Without https a page may not; then the text is selected instead. */
async function copyText(node) {
  try {
    await navigator.clipboard.writeText(node.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(node);
    return false;
  }
}
