// Payloads and results as text: laid out, unfolded on demand, and never read as markup.

import { button, h } from './dom.js';
import { bytes, preview } from './format.js';
import { pretty } from './json.js';

/** Up to this many characters are shown at once. */
const SMALL = 4000;
/** Of larger ones so many, until somebody asks for the rest. */
const PART = 60000;

/** Characters of a payload on one line. */
const PREVIEW = 120;
/** So many characters of a JSON string may stand for one: `\\u0041`. */
const ESCAPE = 6;
/** The start of a JSON string, up to its end or to an escape that is cut off. */
const STRING_START = /^"(?:[^"\\]|\\u[\da-f]{4}|\\[^u])*/i;

/** A payload on one line: of a JSON string its text, which is what a worker receives. */
export function payloadPreview(raw) {
  const start = raw.slice(0, (PREVIEW + 2) * ESCAPE);
  const string = STRING_START.exec(start);
  return preview(string ? JSON.parse(`${string[0]}"`) : start, PREVIEW);
}

/** A payload or a result with its size; a large one unfolds when asked to. */
export function payloadBlock(label, raw) {
  const text = h('pre', { tabindex: '0', 'aria-label': label });
  const more = h('div', { class: 'more' });
  const isString = raw.startsWith('"');
  const content = isString ? JSON.parse(raw) : raw;
  const size = bytes(new Blob([content]).size);
  const show = (limit) => {
    const { text: shown, isCut } = isString
      ? { text: content.slice(0, limit), isCut: content.length > limit }
      : pretty(content, limit);
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
  const kind = isString ? 'text' : 'JSON';
  return h('section', { class: 'payload' },
    h('h3', {}, label, ' ', h('span', { class: 'hint' }, `${kind}, ${size}`)), text, more);
}
