import { useCallback, useEffect, useRef, useState } from 'react';
import type { Notification } from '../store/notification';
import type { Notifications } from '../store/notifications';
import { texts } from './texts';

export interface Undo {
  text: string;
  run(): void;
}

export interface InboxActions {
  /** Read becomes unread, and the other way round. */
  toggleRead(notification: Notification): void;
  toggleArchived(notification: Notification): void;
  markAllRead(): void;
  /** The last change that can be taken back, for a while. */
  undo: Undo | null;
  forget(): void;
  /** What did not work. */
  problem: string | null;
}

const undoMs = 12_000;

/** What can be done with notifications, with a way back and with words for those who do not see the list. */
export function useInboxActions(store: Notifications, say: (text: string) => void): InboxActions {
  const [undo, setUndo] = useState<Undo | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  const forget = useCallback(() => {
    if (timer.current) clearTimeout(timer.current);
    setUndo(null);
  }, []);
  useEffect(() => forget, [forget]);

  const attempt = useCallback(
    (change: Promise<void>) => {
      setProblem(null);
      change.catch(() => {
        // It is back where it was; say so, or it seems to have never happened.
        setProblem(texts.inbox.notDone);
        say(texts.inbox.notDone);
        forget();
      });
    },
    [say, forget],
  );
  const toggleRead = useCallback((notification: Notification) => attempt(store.mark(notification.id, { read: !notification.read })), [store, attempt]);
  const toggleArchived = useCallback(
    (was: Notification) => {
      attempt(store.mark(was.id, { archived: !was.archived }));
      const text = was.archived ? texts.inbox.unarchivedOne(was.title) : texts.inbox.archivedOne(was.title);
      say(text);
      if (timer.current) clearTimeout(timer.current);
      timer.current = setTimeout(() => setUndo(null), undoMs);
      setUndo({
        text,
        run() {
          // What is archived is read: to be as it was, it may have to become unread, which also takes it out of the archive.
          attempt(store.mark(was.id, was.archived ? { archived: true } : was.read ? { archived: false } : { read: false }));
          say(texts.inbox.undone);
          forget();
        },
      });
    },
    [store, attempt, say, forget],
  );
  const markAllRead = useCallback(() => {
    attempt(store.markAllRead());
    say(texts.inbox.allRead);
  }, [store, attempt, say]);
  return { toggleRead, toggleArchived, markAllRead, undo, forget, problem };
}
