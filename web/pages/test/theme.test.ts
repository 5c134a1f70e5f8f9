// @vitest-environment happy-dom
import { beforeEach, describe, expect, it } from 'vitest';
import { openTheme } from '../shell/theme';

describe('the theme', () => {
  beforeEach(() => {
    localStorage.clear();
    delete document.documentElement.dataset['theme'];
  });

  it('is what the system prefers until the other one is chosen', () => {
    const theme = openTheme();
    expect(theme.get()).toBe('light');
    expect(document.documentElement.dataset['theme']).toBeUndefined();
    theme.toggle();
    expect(theme.get()).toBe('dark');
    expect(document.documentElement.dataset['theme']).toBe('dark');
  });

  it('is kept across a reload', () => {
    openTheme().toggle();
    delete document.documentElement.dataset['theme'];
    expect(openTheme().get()).toBe('dark');
    expect(document.documentElement.dataset['theme']).toBe('dark');
  });

  it('goes with the system again when its choice is chosen', () => {
    const theme = openTheme();
    theme.toggle();
    theme.toggle();
    expect(localStorage.length).toBe(0);
    expect(document.documentElement.dataset['theme']).toBeUndefined();
  });

  it('does not trust what it finds in the storage', () => {
    localStorage.setItem('tidings-theme', '"><script>');
    expect(openTheme().get()).toBe('light');
    expect(document.documentElement.dataset['theme']).toBeUndefined();
  });
});
