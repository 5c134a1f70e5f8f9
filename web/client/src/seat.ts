/**
 * A tab's place in the queue of those who may lead. The queue is a Web Lock's: who holds it leads, and the browser passes it on
 * when that tab closes, crashes or goes elsewhere.
 */

export interface Seat {
  readonly key: string;
  /** Gives up the lead, or the wait for it, at once: a page that is put away has no later. */
  leave(): void;
  /** Takes the lead from one that is there but does nothing. When it wakes it finds itself without, and stands in the queue again. */
  steal(): void;
}

/** Stands in the queue. `lead` is called when this tab's turn has come, and what it returns when that is over. */
export function sit(key: string, locks: Pick<LockManager, 'request'>, lead: () => () => void): Seat {
  let left = false;
  let end: (() => void) | null = null;
  let free = () => {};
  let queued: AbortController;

  function over() {
    const ended = end;
    end = null;
    ended?.();
    free();
  }

  function queue(steal: boolean) {
    const here = (queued = new AbortController());
    const lost = () => {
      if (queued !== here) return;
      over();
      if (!left) queue(false);
    };
    const turn = () => {
      if (left || queued !== here) return;
      const until = new Promise<void>((resolve) => (free = resolve));
      end = lead();
      return until;
    };
    locks.request(key, steal ? { steal } : { signal: here.signal }, turn).then(lost, lost);
  }

  queue(false);
  return {
    key,
    leave() {
      left = true;
      queued.abort();
      over();
    },
    steal() {
      if (end || left) return;
      queued.abort();
      queue(true);
    },
  };
}
