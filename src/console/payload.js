// Payloads and results as text: laid out, unfolded on demand, and never read as markup.

import { button, h } from './dom.js';
import { bytes, preview } from './format.js';
import { pretty } from './json.js';

/** Up to this many characters are shown at once. */
const SMALL = 4000;
/** Of larger ones so many, until somebody asks for the rest. */
const PART = 60000;

/** What a worker receives for a payload: the text of a JSON string, else the JSON itself. */
function layOut(raw, limit) {
  if (!raw.startsWith('"')) return pretty(raw, limit);
  const text = JSON.parse(raw);
  return { text: text.slice(0, limit), isCut: text.length > limit };
}

/** A payload on one line. */
export function payloadPreview(raw) {
  const start = raw.slice(0, 400);
  return preview(raw.startsWith('"') ? start.slice(1) : start, 120);
}

/** A payload or a result with its size; a large one unfolds when asked to. */
export function payloadBlock(label, raw) {
  const text = h('pre', { tabindex: '0', 'aria-label': label });
  const more = h('div', { class: 'more' });
  const size = bytes(new Blob([raw]).size);
  const show = (limit) => {
    const { text: shown, isCut } = layOut(raw, limit);
    text.hidden = false;
    text.textContent = shown;
    more.replaceChildren(...(isCut
      ? [`The first ${bytes(limit)} of ${size}.`, button('Show all', () => show(Infinity))]
      : []));
  };
  if (raw.length <= SMALL) {
    show(Infinity);
  } else {
    text.hidden = true;
    more.append(button(`Show ${size}`, () => show(PART)));
  }
  const kind = raw.startsWith('"') ? 'text' : 'JSON';
  return h('section', { class: 'payload' },
    h('h3', {}, label, ' ', h('span', { class: 'hint' }, `${kind}, ${size}`)), text, more);
}
