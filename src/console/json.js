// Reading JSON without changing it. `JSON.parse` turns 12345678901234567890 into
// 12345678901234567000 and 1.10 into 1.1; a payload is therefore cut out of the answer as text,
// and laid out in lines by its own marks. Nothing here recurses, however deep a payload is.

/** Deeper lines are not moved further in: they would be mostly space. */
const MAX_INDENT = 24;
/** What ends a number or a word. */
const ENDS = ' \t\n\r,:]}';

function skipBlank(text, at) {
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\t' || text[at] === '\r') at += 1;
  return at;
}

function endOfString(text, at) {
  for (let from = at + 1; ;) {
    const quote = text.indexOf('"', from);
    if (quote < 0) throw new SyntaxError('a string without an end');
    let slashes = 0;
    while (text[quote - 1 - slashes] === '\\') slashes += 1;
    if (slashes % 2 === 0) return quote + 1;
    from = quote + 1;
  }
}

/** Where the value that starts at `at` ends. */
function endOfValue(text, at) {
  if (text[at] === '"') return endOfString(text, at);
  if (text[at] !== '{' && text[at] !== '[') {
    let end = at;
    while (end < text.length && !ENDS.includes(text[end])) end += 1;
    return end;
  }
  let depth = 0;
  for (let i = at; i < text.length; i += 1) {
    const mark = text[i];
    if (mark === '"') {
      i = endOfString(text, i) - 1;
    } else if (mark === '{' || mark === '[') {
      depth += 1;
    } else if (mark === '}' || mark === ']') {
      depth -= 1;
      if (depth === 0) return i + 1;
    }
  }
  throw new SyntaxError('a value without an end');
}

/** The parts between an opening mark and its closing one: `[key, value]` or `[value]`, raw. */
function parts(text, hasKeys) {
  const found = [];
  let at = skipBlank(text, skipBlank(text, 0) + 1);
  while (at < text.length && text[at] !== '}' && text[at] !== ']') {
    const part = [];
    if (hasKeys) {
      const end = endOfString(text, at);
      part.push(JSON.parse(text.slice(at, end)));
      at = skipBlank(text, skipBlank(text, end) + 1);
    }
    const end = endOfValue(text, at);
    part.push(text.slice(at, end));
    found.push(part);
    at = skipBlank(text, end);
    if (text[at] === ',') at = skipBlank(text, at + 1);
  }
  return found;
}

/** The members of an object, `[key, text of the value]` each. */
export function members(text) {
  return parts(text, true);
}

/** The elements of an array, as texts. */
export function elements(text) {
  return parts(text, false).map(([value]) => value);
}

/** Members whose values stay as they were written. */
const KEPT = new Set(['id', 'job_id', 'payload', 'result']);

/** A job or a failure; `id`, `job_id`, `payload` and `result` are texts of JSON. */
export function readRow(text) {
  const row = Object.create(null);
  for (const [key, value] of members(text)) row[key] = KEPT.has(key) ? value : JSON.parse(value);
  return row;
}

/** A page of a listing: `{ rows, next }`. */
export function readPage(text, key) {
  const page = new Map(members(text));
  const rows = elements(page.get(key) ?? '[]').map(readRow);
  return { rows, next: JSON.parse(page.get('next_cursor') ?? '""') };
}

/**
 * A value in lines. Only white space between its marks changes. It ends early where it exceeds
 * `limit` characters: `{ text, isCut }`.
 */
export function pretty(text, limit = Infinity) {
  const out = [];
  let [size, depth, at] = [0, 0, 0];
  const put = (piece) => {
    out.push(piece);
    size += piece.length;
  };
  const line = () => `\n${'  '.repeat(Math.min(depth, MAX_INDENT))}`;
  while ((at = skipBlank(text, at)) < text.length && size < limit) {
    const mark = text[at];
    if (mark === '{' || mark === '[') {
      const next = skipBlank(text, at + 1);
      if (text[next] === '}' || text[next] === ']') {
        put(mark + text[next]);
        at = next + 1;
        continue;
      }
      depth += 1;
      put(mark + line());
    } else if (mark === '}' || mark === ']') {
      depth -= 1;
      put(line() + mark);
    } else if (mark === ',') {
      put(mark + line());
    } else if (mark === ':') {
      put(': ');
    } else {
      const end = Math.max(endOfValue(text, at), at + 1);
      put(text.slice(at, end));
      at = end - 1;
    }
    at += 1;
  }
  const laidOut = out.join('');
  const isCut = laidOut.length > limit || skipBlank(text, at) < text.length;
  return { text: isCut ? laidOut.slice(0, limit) : laidOut, isCut };
}
