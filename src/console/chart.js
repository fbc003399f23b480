// Time-lines: small drawings of the last two minutes, made of elements.

import { svg } from './dom.js';

const WIDTH = 120;
const HEIGHT = 30;

/** The largest of some series, at least 1, so that a quiet line lies at the bottom. */
function top(series) {
  return series.reduce((most, values) =>
    values.reduce((a, b) => (b > a ? b : a), most), 1);
}

/** Runs of points through values, the latest at the right edge; `null` leaves a gap. */
function runs(values, length, most, height) {
  const found = [[]];
  const step = WIDTH / (length - 1);
  values.forEach((value, index) => {
    if (value === null) {
      found.push([]);
      return;
    }
    const x = (WIDTH - (values.length - 1 - index) * step).toFixed(1);
    const y = (height - 1 - (value / most) * (height - 3)).toFixed(1);
    found.at(-1).push([x, y]);
  });
  return found.filter((run) => run.length > 0);
}

const lineOf = (run) => `M${run.map((point) => point.join(' ')).join('L')}`;
const areaOf = (run, height) => `${lineOf(run)}V${height}H${run[0][0]}Z`;

/**
 * A time-line of several series on one scale, the first with the area below it. `kinds` are their
 * CSS classes, `length` how many values the width holds. `update` takes the arrays, in the same
 * order.
 */
export function timeline(kinds, length, height = HEIGHT) {
  const paths = kinds.map((kind) =>
    svg('path', { class: `line ${kind}`, 'vector-effect': 'non-scaling-stroke' }));
  const area = svg('path', { class: `area ${kinds[0]}` });
  const node = svg('svg', {
    class: 'timeline',
    viewBox: `0 0 ${WIDTH} ${height}`,
    preserveAspectRatio: 'none',
    'aria-hidden': 'true',
    focusable: 'false',
  }, area, ...paths);
  return {
    node,
    update(series) {
      const most = top(series);
      paths.forEach((path, index) => {
        // What never happened draws no line over the others.
        const isIdle = kinds.length > 1 && !series[index].some((value) => value > 0);
        const lines = runs(isIdle ? [] : series[index], length, most, height);
        path.setAttribute('d', lines.map(lineOf).join(''));
        if (index === 0) area.setAttribute('d', lines.map((run) => areaOf(run, height)).join(''));
      });
      return most;
    },
  };
}
