// Time-lines: small drawings of the last two minutes, made of elements.

import { svg } from './dom.js';

const WIDTH = 120;
const HEIGHT = 30;

/** The largest of some series, at least 1, so that a quiet line lies at the bottom. */
function top(series) {
  return series.reduce((most, values) =>
    values.reduce((a, b) => (b > a ? b : a), most), 1);
}

/** The path through values, the latest at the right edge; `null` leaves a gap. */
function line(values, length, most, height) {
  let path = '';
  let isDrawing = false;
  const step = WIDTH / (length - 1);
  values.forEach((value, index) => {
    if (value === null) {
      isDrawing = false;
      return;
    }
    const x = (WIDTH - (values.length - 1 - index) * step).toFixed(1);
    const y = (height - 1 - (value / most) * (height - 3)).toFixed(1);
    path += `${isDrawing ? 'L' : 'M'}${x} ${y}`;
    isDrawing = true;
  });
  return path;
}

/**
 * A time-line of several series on one scale. `kinds` are their CSS classes, `length` how many
 * values the width holds. `update` takes the arrays, in the same order.
 */
export function timeline(kinds, length, height = HEIGHT) {
  const paths = kinds.map((kind) =>
    svg('path', { class: `line ${kind}`, 'vector-effect': 'non-scaling-stroke' }));
  const node = svg('svg', {
    class: 'timeline',
    viewBox: `0 0 ${WIDTH} ${height}`,
    preserveAspectRatio: 'none',
    'aria-hidden': 'true',
    focusable: 'false',
  }, ...paths);
  return {
    node,
    update(series) {
      const most = top(series);
      paths.forEach((path, index) => {
        // What never happened draws no line over the others.
        const isIdle = kinds.length > 1 && !series[index].some((value) => value > 0);
        path.setAttribute('d', isIdle ? '' : line(series[index], length, most, height));
      });
      return most;
    },
  };
}
