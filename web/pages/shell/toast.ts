/** Short messages at the edge of the window. They go by themselves, but not while somebody reads them. */
import { cell, type Store } from '../../client/store/store';
import { announce } from './announcements';
import { texts } from '../texts';

export interface Toast {
  text: string;
  tone?: 'good' | 'info' | 'warn' | 'bad';
  action?: { text: string; run: () => void };
  /** How long it stays; longer where there is something to press. 0: until it is closed. */
  ms?: number;
}

export interface ShownToast extends Toast {
  id: number;
}

export interface ToastStore extends Store<readonly ShownToast[]> {
  /** Shows it and says it to screen readers; the returned function takes it away. */
  add(toast: Toast): () => void;
  close(id: number): void;
  /** Takes all away, as when whoever they were for has left. */
  clear(): void;
  /** While the pointer or the focus is on them. */
  pause(): void;
  resume(): void;
}

const SHOWN_MAX = 4;
const STAYS_MS = 5_000;
const STAYS_WITH_ACTION_MS = 10_000;

export function openToasts(say: (text: string) => void = announce): ToastStore {
  const shown = cell<readonly ShownToast[]>([]);
  const left = new Map<number, number>();
  let ids = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let since = 0;
  let paused = false;

  // One timer for all: it runs until the next one is due, and its time is taken off the others.
  const stop = () => {
    if (timer === undefined) return;
    clearTimeout(timer);
    timer = undefined;
    const passed = Date.now() - since;
    for (const [id, ms] of left) left.set(id, ms - passed);
  };
  const run = () => {
    stop();
    if (paused || !left.size) return;
    since = Date.now();
    timer = setTimeout(() => {
      stop();
      for (const [id, ms] of [...left]) if (ms <= 0) close(id);
      run();
    }, Math.max(0, Math.min(...left.values())));
  };
  const close = (id: number) => {
    left.delete(id);
    shown.set(shown.get().filter((toast) => toast.id !== id));
    if (!shown.get().length) paused = false;  // what was pointed at is gone, and nobody tells that the pointer left it
  };

  return {
    get: shown.get,
    subscribe: shown.subscribe,
    add(toast) {
      const id = ++ids;
      const ms = toast.ms ?? (toast.action ? STAYS_WITH_ACTION_MS : STAYS_MS);
      stop();
      const all = [...shown.get(), { ...toast, id }];
      for (const old of all.splice(0, all.length - SHOWN_MAX)) left.delete(old.id);
      shown.set(all);
      if (ms) left.set(id, ms);
      run();
      say(toast.action ? texts.shell.toastWithAction(toast.text, toast.action.text) : toast.text);
      return () => {
        close(id);
        run();
      };
    },
    close(id) {
      close(id);
      run();
    },
    clear() {
      left.clear();
      stop();
      paused = false;
      shown.set([]);
    },
    pause() {
      stop();
      paused = true;
    },
    resume() {
      paused = false;
      run();
    },
  };
}

export const toasts = openToasts();

/** `toast({ text: 'Archived', action: { text: 'Undo', run: undo } })` */
export const toast = toasts.add;
