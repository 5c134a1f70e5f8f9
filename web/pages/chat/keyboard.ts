/** The page's keys, once: what is listened to and what the help shows. */
import { useEffect, useRef } from 'react';

export type KeyCommand = 'next' | 'previous' | 'open' | 'back' | 'end' | 'assign' | 'archive' | 'select' | 'reply' | 'search' | 'help';

/** As they are shown; several do the same. */
export const keysOf: Record<KeyCommand, readonly string[]> = {
  next: ['j', '↓'],
  previous: ['k', '↑'],
  open: ['Enter'],
  back: ['Esc'],
  end: ['e'],
  assign: ['a'],
  archive: ['Shift+A'],
  select: ['x'],
  reply: ['r'],
  search: ['/'],
  help: ['?'],
};

function commandOf(event: KeyboardEvent): KeyCommand | null {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return null;
  switch (event.key) {
    case 'j': return 'next';
    case 'k': return 'previous';
    case 'e': return 'end';
    case 'a': return 'assign';
    case 'A': return 'archive';
    case 'x': return 'select';
    case 'r': return 'reply';
    case '/': return 'search';
    case '?': return 'help';
    case 'Escape': return 'back';
    // In other places arrows belong to what has the focus.
    case 'ArrowDown': return inList(event.target) ? 'next' : null;
    case 'ArrowUp': return inList(event.target) ? 'previous' : null;
    default: return null; // Enter presses the row that has the focus, as any button
  }
}

function inList(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest('.session') !== null;
}

function types(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !['checkbox', 'radio', 'button'].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

/** Listens as long as the component is there. Nothing happens while somebody types; Escape leaves the field. */
export function useKeys(run: (command: KeyCommand) => void): void {
  const latest = useRef(run);
  latest.current = run;
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.defaultPrevented) return;
      const command = commandOf(event);
      if (!command) return;
      if (types(event.target)) {
        if (command === 'back') (event.target as HTMLElement).blur();
        return;
      }
      if (command !== 'back') event.preventDefault();
      latest.current(command);
    };
    document.addEventListener('keydown', pressed);
    return () => document.removeEventListener('keydown', pressed);
  }, []);
}
