// The command line that does what the console does.

import { ROOT } from './api.js';
import { button, h } from './dom.js';

/** Longer bodies are better kept in a file; a shell takes about 128 KiB in one word. */
const MAX_BODY = 8000;

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
  const data = body.length > MAX_BODY ? '@body.json' : body;
  const flag = data === body ? '-d' : '--data-binary';
  return `${words.join(' ')} \\\n  ${flag} ${quote(data)}`;
}

/** A block that shows a command and copies it. */
export function curlBlock(request, note = '') {
  const code = h('code', { class: 'curl-line' });
  const status = h('span', { class: 'sr', role: 'status' });
  const copy = button('Copy', async () => {
    const isCopied = await copyText(code);
    copy.textContent = isCopied ? 'Copied' : 'Selected';
    status.textContent = isCopied ? 'The command was copied' : 'The command is selected';
    setTimeout(() => { copy.textContent = 'Copy'; }, 2000);
  }, { class: 'small', 'aria-label': 'Copy the curl command' });
  const node = h('div', { class: 'curl' }, code, copy, status,
    note && h('p', { class: 'hint' }, note));
  const show = (changed) => { code.textContent = curl(changed); };
  show(request);
  return { node, show };
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
