import { useEffect, useState, useSyncExternalStore } from 'react';
import type { Connection } from '../src/connection';
import { health, type Health } from '../store/health';
import { texts } from './texts';
import { unknown, useGivenConnection } from './useConnection';

export interface StatusText {
  /** "Live", "Reconnecting in 4 s", "Offline – showing data from 14:57" … */
  text: string;
  /** The same without what counts down, to be read out. */
  spoken: string;
  /** More, where there is more to say. */
  detail: string | null;
  tone: 'good' | 'warn' | 'bad';
  /** Whether trying now instead of later makes sense. */
  canReconnect: boolean;
}

/** What a server renders, and so what the first render of its page shows. */
const untold: Health = { status: unknown, staleSince: null, after: null };

/**
 * The state of the connection in words, ticking while it waits for the next attempt.
 *
 * ```tsx
 * const { text, detail } = useStatusText();
 * return <p title={detail ?? undefined}>{text}</p>;
 * ```
 */
export function useStatusText({ connection }: { connection?: Connection } = {}): StatusText {
  const store = health(useGivenConnection(connection));
  const now = useSyncExternalStore(store.subscribe, store.get, () => untold);
  const { retryAt } = now.status;
  const [clock, setClock] = useState(() => Date.now());
  useEffect(() => {
    if (retryAt === null) return undefined;
    setClock(Date.now());
    const timer = setInterval(() => setClock(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [retryAt]);
  return statusText(now, clock);
}

export function statusText({ status, staleSince, after }: Health, now: number): StatusText {
  const said = texts.connection;
  const stale = staleSince === null ? null : time(staleSince);
  const showing = stale && said.showing(stale);
  const over = status.transport && said.over(said.transports[status.transport]);
  const words = (text: string, tone: StatusText['tone'], detail: string | null, spoken = text): StatusText => ({
    text,
    spoken,
    detail,
    tone,
    canReconnect: status.state === 'connecting' && status.retryAt !== null,
  });
  switch (status.state) {
    case 'connected':
      return words(after ? said[after] : said.live, 'good', over);
    case 'polling':
      return words(after ? said[after] : said.polling, 'good', over);
    case 'offline':
      return words(stale ? said.offlineSince(stale) : said.offline, 'bad', null);
    case 'closed':
      return words(closed(status.reason), 'bad', showing);
    case 'connecting': {
      // Before the first connection nothing is re-connected.
      const spoken = stale ? said.reconnecting : said.connecting;
      const seconds = status.retryAt === null ? 0 : Math.ceil((status.retryAt - now) / 1_000);
      return words(seconds > 0 ? said.reconnectingIn(seconds) : spoken, 'warn', showing, spoken);
    }
  }
}

function closed(reason: string | null): string {
  if (reason === 'forbidden') return texts.connection.forbidden;
  return reason === 'unauthorised' || reason === 'revoked' || reason?.startsWith('token_') ? texts.connection.signedOut : texts.connection.closed;
}

function time(milliseconds: number): string {
  return new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' }).format(milliseconds);
}
