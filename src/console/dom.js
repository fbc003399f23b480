// Making elements. Text stays text: no function here or elsewhere reads it as markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') {
      node.addEventListener(name.slice(2), value);
    } else if (name === 'value') {
      node.value = value;
    } else {
      node.setAttribute(name, value === true ? '' : value);
    }
  }
  node.append(...children.flat(2).filter((child) => child || child === 0));
  return node;
}

/**
 * An element: `h('a', { href: '#/node', onclick: f }, 'text', child)`. Attributes that are null
 * or false are left out, and so are children.
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for a part of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Sets an element's text, touching the page only where it changes. */
export function setText(node, text) {
  const wanted = String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** A button. */
export function button(label, onclick, attributes = {}) {
  return h('button', { type: 'button', onclick, ...attributes }, label);
}

/**
 * Keeps the children of `parent` in line with `items`, each known by its key: a child stays the
 * same element as long as its item is there, so that focus and what is unfolded survive a refresh.
 * `make(item)` answers `{ node, update(item) }`; `update` may be left out.
 */
export class KeyedList {
  constructor(parent, keyOf, make) {
    Object.assign(this, { parent, keyOf, make, known: new Map() });
  }

  show(items) {
    const gone = new Set(this.known.keys());
    let next = this.parent.firstChild;
    for (const item of items) {
      const key = this.keyOf(item);
      gone.delete(key);
      let entry = this.known.get(key);
      if (!entry) {
        entry = this.make(item);
        this.known.set(key, entry);
      }
      entry.update?.(item);
      if (entry.node === next) {
        next = next.nextSibling;
      } else {
        this.parent.insertBefore(entry.node, next);
      }
    }
    for (const key of gone) {
      const { node } = this.known.get(key);
      this.known.delete(key);
      if (node.contains(document.activeElement)) this.passFocus(node);
      node.remove();
    }
  }

  /** Gives the focus of a child that goes to the same button of the next one, or the one before. */
  passFocus(node) {
    const buttons = (of) => [...of.querySelectorAll('a[href], button')];
    const place = buttons(node).indexOf(document.activeElement);
    const staying = new Set([...this.known.values()].map((entry) => entry.node));
    const find = (step) => {
      let other = node[step];
      while (other && (other.hidden || !staying.has(other))) other = other[step];
      return other;
    };
    const heir = find('nextElementSibling') ?? find('previousElementSibling');
    const heirs = heir ? buttons(heir) : [];
    (heirs[place] ?? heirs[0] ?? document.getElementById('main')).focus();
  }
}

/** A table with a caption for those who cannot see it. `columns`: `[label, class]`. */
export function table(caption, columns) {
  const body = h('tbody', { role: 'rowgroup' });
  const heads = columns.map(([label, kind]) =>
    h('th', { scope: 'col', role: 'columnheader', class: kind }, label));
  const node = h('table', { role: 'table' },
    h('caption', {}, caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, heads)),
    body);
  return { node, body };
}

/** A cell. The label is shown beside it where the screen is too narrow for a table. */
export function cell(label, kind, ...children) {
  return h('td', { role: 'cell', class: kind, 'data-label': label }, ...children);
}

/** What stands where a list has nothing to show. */
export function emptyState(title, hint) {
  return h('div', { class: 'empty' }, h('p', { class: 'empty-title' }, title), h('p', {}, hint));
}
