// Light or dark, before anything is drawn. The system decides unless somebody has chosen here.
// No module, since those run only after the first paint.
'use strict';

(() => {
  const root = document.documentElement;
  const key = 'fireworq-theme';
  const order = ['auto', 'light', 'dark'];

  function stored() {
    try {
      return localStorage.getItem(key);
    } catch {
      // Storage may be forbidden: then the choice holds for this page.
      return null;
    }
  }

  function apply(theme) {
    if (theme === 'auto') {
      delete root.dataset.theme;
    } else {
      root.dataset.theme = theme;
    }
  }

  let theme = order.includes(stored()) ? stored() : 'auto';
  apply(theme);

  document.addEventListener('DOMContentLoaded', () => {
    const button = document.getElementById('theme');
    const show = () => {
      button.textContent = `Theme: ${theme}`;
    };
    show();
    button.addEventListener('click', () => {
      theme = order[(order.indexOf(theme) + 1) % order.length];
      try {
        localStorage.setItem(key, theme);
      } catch {
        // As above.
      }
      apply(theme);
      show();
    });
  });
})();
