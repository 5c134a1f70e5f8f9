/**
 * Light or dark: as the system prefers, until the person chooses the other. The choice is kept in this browser, and dropped when it is what
 * the system prefers anyway, so that the page goes with the system again.
 */
import { cell, type Store } from '../../client/store/store';

export type Theme = 'light' | 'dark';
const KEY = 'tidings-theme';

export interface ThemeStore extends Store<Theme> {
  toggle(): void;
}

export function openTheme(): ThemeStore {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const preferred = (): Theme => (dark.matches ? 'dark' : 'light');
  const chosen = (): Theme | null => {
    try {
      const kept = localStorage.getItem(KEY);
      return kept === 'light' || kept === 'dark' ? kept : null;
    } catch {
      return null;  // storage is forbidden here: the choice lasts as long as the page
    }
  };
  const state = cell<Theme>('light');
  const show = (theme: Theme | null) => {
    if (theme) document.documentElement.dataset['theme'] = theme;
    else delete document.documentElement.dataset['theme'];
    state.set(theme ?? preferred());
  };
  show(chosen());
  dark.addEventListener('change', () => show(chosen()));
  addEventListener('storage', (event) => event.key === KEY && show(chosen()));
  return {
    get: state.get,
    subscribe: state.subscribe,
    toggle() {
      const next: Theme = state.get() === 'dark' ? 'light' : 'dark';
      const theme = next === preferred() ? null : next;
      try {
        if (theme) localStorage.setItem(KEY, theme);
        else localStorage.removeItem(KEY);
      } catch {
        // As above.
      }
      show(theme);
    },
  };
}
