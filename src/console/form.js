// Forms: labelled fields, their values as they were typed, and what the daemon objects to, shown
// at the field that it speaks of.

import { h } from './dom.js';

let numbers = 0;

/**
 * A field: `{ name, label, hint, value, kind, options, blames, isRequired }`. `kind` is `text`
 * (the default), `number`, `area` or `select`. `blames` is a pattern of messages that concern the
 * field without naming it.
 */
function makeField(field) {
  numbers += 1;
  const id = `field-${numbers}`;
  const common = {
    id,
    name: field.name,
    value: field.value ?? '',
    autocomplete: 'off',
    spellcheck: 'false',
    'aria-describedby': `${id}-hint ${id}-error`,
    'aria-required': field.isRequired ? 'true' : null,
    placeholder: field.placeholder,
    list: field.suggestions ? `${id}-list` : null,
  };
  const input = {
    area: () => h('textarea', { ...common, rows: '7' }),
    // The value is one of the options, so that they come first.
    select: () => h('select', { ...common }, field.options.map((option) =>
      h('option', { value: option.value, selected: option.value === field.value },
        option.label))),
    number: () => h('input', { ...common, type: 'text', inputmode: 'decimal' }),
    text: () => h('input', { ...common, type: field.type ?? 'text' }),
  }[field.kind ?? 'text']();
  if (field.isFixed) input.readOnly = true;
  const error = h('p', { class: 'error', id: `${id}-error`, role: 'alert' });
  const suggestions = field.suggestions && h('datalist', { id: `${id}-list` },
    field.suggestions.map((value) => h('option', { value })));
  const node = h('div', { class: `field of-${field.kind ?? 'text'}` },
    h('label', { for: id }, field.label),
    input,
    suggestions ?? null,
    h('p', { class: 'hint', id: `${id}-hint` }, field.hint ?? ''),
    error);
  return { ...field, node, input, error };
}

/** The fields of a form. */
export function fieldset(descriptions) {
  const fields = descriptions.map(makeField);
  const general = h('p', { class: 'error general', role: 'alert' });

  function clear() {
    general.textContent = '';
    for (const field of fields) {
      field.error.textContent = '';
      field.input.removeAttribute('aria-invalid');
    }
  }

  function blame(field, message) {
    field.error.textContent = message;
    field.input.setAttribute('aria-invalid', 'true');
    field.input.focus();
  }

  return {
    node: h('div', { class: 'fields' }, fields.map((field) => field.node), general),
    /** What was typed, by the fields' names. */
    values: () => Object.fromEntries(fields.map(({ name, input }) => [name, input.value])),
    input: (name) => fields.find((field) => field.name === name).input,
    clear,
    /** Shows a message at the field that it names first, else below all. */
    object(message) {
      clear();
      const named = fields
        .map((field) => ({ field, at: message.indexOf(field.name) }))
        .filter(({ at }) => at >= 0)
        .sort((a, b) => a.at - b.at || b.field.name.length - a.field.name.length);
      const blamed = fields.find((field) => field.blames?.test(message)) ?? named[0]?.field;
      if (blamed) blame(blamed, message);
      else general.textContent = message;
    },
  };
}

/**
 * A typed number as JSON: its own spelling where it is one, else a string, so that the daemon says
 * what is wrong with it.
 */
export function numberText(typed) {
  const text = typed.trim();
  return /^-?\d+(\.\d+)?$/.test(text) && !/^-?0\d/.test(text) ? text : JSON.stringify(text);
}

/**
 * What is to be objected to a payload that should be one JSON value, or none; else `null`. Put
 * into a body unread, it could end its own member and bring others.
 */
export function objectionToJson(payload) {
  try {
    if (payload.trim()) JSON.parse(payload);
    return null;
  } catch (error) {
    return `The payload is not JSON: ${error.message}`;
  }
}

/** The text of an object of `[key, text of the value]`; those without a value are left out. */
export function objectText(parts) {
  const given = parts.filter(([, value]) => value !== null);
  return `{${given.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(',')}}`;
}

/** The members for number fields that are not empty. */
export function numberParts(values, names) {
  return names.map((name) => [name, values[name].trim() ? numberText(values[name]) : null]);
}
