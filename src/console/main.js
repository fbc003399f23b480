// The frame: which page is shown, when it looks again, and whether the daemon answers.

import { Away, Refused, contact } from './api.js';
import { h } from './dom.js';
import { duration } from './format.js';
import { jobView } from './job.js';
import { start } from './live.js';
import { nodeView } from './node.js';
import { queueView } from './queue.js';
import { queuesView } from './queues.js';
import { routingsView } from './routings.js';

const VIEWS = {
  queues: queuesView,
  queue: queueView,
  routings: routingsView,
  job: jobView,
  node: nodeView,
};
/** While the daemon is away it is asked so often. */
const RETRY_MS = 1000;
/** And so often while it answers with an error: its store may be away. */
const TROUBLED_MS = 3000;

const main = document.getElementById('main');
const banner = document.getElementById('contact');

/** The page on show, and what ends it. */
let current = null;

/** `#/queue/a%2Fb/failed?message=x` as its parts and parameters. */
function readHash() {
  const [whole, query = ''] = location.hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  let parts = ['queues'];
  try {
    parts = whole.split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    // A link that was cut short leads to the first page.
  }
  const parameters = Object.fromEntries(new URLSearchParams(query));
  return { parts: parts.length ? parts : ['queues'], parameters };
}

function markLinks(page) {
  for (const link of document.querySelectorAll('header nav a')) {
    const isCurrent = link.hash === `#/${page}` || (page === 'queue' && link.hash === '#/queues');
    if (isCurrent) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

function navigate() {
  const { parts, parameters } = readHash();
  // A question about what is no longer shown is given up.
  for (const dialog of document.querySelectorAll('dialog')) dialog.close();
  const isKnown = Object.hasOwn(VIEWS, parts[0]) && (parts[0] !== 'queue' || parts[1]);
  const page = isKnown ? parts[0] : 'queues';
  markLinks(page);
  if (current?.key === `${page}/${parts[1] ?? ''}` && current.view.follow) {
    current.view.follow(parts.slice(1), parameters);
    current.kick();
    return;
  }
  const isFirst = current === null;
  current?.end();
  const view = VIEWS[page](parts.slice(1), parameters);
  document.title = `${view.title} – Fireworq`;
  current = run(view, `${page}/${parts[1] ?? ''}`);
  main.replaceChildren(view.trouble, view.node);
  // Whoever listens to the page hears that it has changed; the first page takes no focus.
  if (!isFirst) main.focus();
  scrollTo(0, 0);
}

/** Shows a failure of a page's own requests; that the daemon is away stands in the banner. */
function showTrouble(view, error) {
  if (error instanceof Away) return;
  view.trouble.hidden = false;
  view.trouble.textContent = error instanceof Refused
    ? `The daemon answers ${error.status}: ${error.message}`
    : `The console has failed: ${error.message}`;
}

/** Refreshes a page until it is left. A slow daemon is asked less often. */
function run(view, key) {
  const leaving = new AbortController();
  const { signal } = leaving;
  let wake = () => {};
  const pause = (ms) => new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
  view.trouble = h('p', { class: 'banner bad', role: 'alert', hidden: true });
  let isWanted = false;
  const kick = () => {
    isWanted = true;
    wake();
  };
  view.kick = kick;
  (async () => {
    while (!signal.aborted) {
      isWanted = false;
      const before = performance.now();
      let hasFailed = false;
      try {
        if (!document.hidden) await view.refresh?.(signal);
        view.trouble.hidden = true;
      } catch (error) {
        if (signal.aborted) return;
        hasFailed = true;
        showTrouble(view, error);
      }
      const took = performance.now() - before;
      if (isWanted) continue;
      if (contact.isLost) await pause(RETRY_MS);
      else await pause(hasFailed ? TROUBLED_MS : Math.max(view.interval, took * 4));
    }
  })();
  const end = () => {
    leaving.abort();
    wake();
    view.stop?.();
  };
  return { view, key, kick, end };
}

function showContact() {
  banner.hidden = !contact.isLost;
  document.body.classList.toggle('lost', contact.isLost);
  if (contact.isLost) {
    const away = duration(Math.floor((Date.now() - contact.lastAnswer) / 1000) * 1000);
    banner.textContent = `Lost contact ${away} ago. What you see is from then; trying again.`;
  } else {
    banner.textContent = '';
  }
}

contact.listeners.add((isLost) => {
  showContact();
  if (!isLost) current?.kick();
});
setInterval(() => {
  if (contact.isLost) showContact();
}, 1000);
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) current?.kick();
});
addEventListener('hashchange', navigate);
document.querySelector('.skip').addEventListener('click', (event) => {
  // The hash is the page's address, which the link must not change.
  event.preventDefault();
  main.focus();
});
start();
navigate();
