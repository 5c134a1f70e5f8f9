/** Which chats are selected. With Shift, all between the last one and this. */
import { useCallback, useMemo, useRef, useState } from 'react';
import type { ChatSession } from '../../client/store/session';

export interface Selection {
  /** Of those that are shown: what left the list is not acted on unseen. */
  chosen: readonly ChatSession[];
  ids: ReadonlySet<string>;
  toggle(id: string, isRange: boolean): void;
  all(): void;
  clear(): void;
}

export function useSelection(shown: readonly ChatSession[]): Selection {
  const [marked, setMarked] = useState<ReadonlySet<string>>(new Set());
  const last = useRef<string | null>(null);
  const rows = useRef(shown);
  rows.current = shown;
  const toggle = useCallback((id: string, isRange: boolean) => {
    const from = rows.current.findIndex((session) => session.id === last.current);
    const to = rows.current.findIndex((session) => session.id === id);
    last.current = id;
    setMarked((before) => {
      const next = new Set(before);
      const on = !before.has(id);
      const range = isRange && from >= 0 && to >= 0 ? rows.current.slice(Math.min(from, to), Math.max(from, to) + 1).map((session) => session.id) : [id];
      for (const one of range) {
        if (on) next.add(one);
        else next.delete(one);
      }
      return next;
    });
  }, []);
  const all = useCallback(() => setMarked(new Set(rows.current.map(({ id }) => id))), []);
  const clear = useCallback(() => {
    last.current = null;
    setMarked(new Set());
  }, []);
  const chosen = useMemo(() => shown.filter(({ id }) => marked.has(id)), [shown, marked]);
  const ids = useMemo(() => new Set(chosen.map(({ id }) => id)), [chosen]);
  return { chosen, ids, toggle, all, clear };
}
