/**
 * The tab that holds the connection, as the other tabs hear it on a BroadcastChannel.
 *
 * What a tab's line asks for is one more subscription of the leader's connection, from the tab's own cursor. That costs the server
 * nothing: a connection asks it for all of a tenant's subscriptions at once. An event is said once, for all lines that want it.
 * Nothing here runs by a timer: a hidden tab's timers are slow, its messages are not.
 */
import type { Connection, Status, Subscription } from './connection';
import type { TidingsEvent } from './event';
import type { Wire } from './link';
import type { Problem } from './problem';

/** Where tabs meet: the browser's own, or a test's. */
export interface Place {
  readonly locks: Pick<LockManager, 'request'>;
  readonly Channel: new (name: string) => BroadcastChannel;
  /** Tells when the page is put away. */
  readonly page: Pick<EventTarget, 'addEventListener' | 'removeEventListener'>;
}

/** As much of a `Problem` as is told of it; an error would lose it on the way. */
export type Refusal = Pick<Problem, 'code' | 'detail' | 'status' | 'field' | 'current'>;

/** What a leader says to these lines; to all where they are not named. Nothing at all: I lead now. */
export interface Told {
  leader: string;
  to?: string[];
  status?: Status;
  opened?: { cursor: string; resumed: boolean };
  event?: TidingsEvent;
  moved?: string;
  reset?: { reason: string; cursor: string | null };
  refused?: Refusal;
  /** The connection was made anew: so is the line, that its subscriptions hear of it. */
  again?: true;
  answer?: { id: number; data?: unknown; refused?: Refusal };
}

/** What a line says: what it wants, `ping`, or a command. */
export interface Said {
  line: string;
  wire?: Wire;
  after?: string | null;
  word?: 'ping' | 'leave' | 'reconnect';
  command?: { id: number; name: string; args: Record<string, unknown> };
}

/** Leads the tabs that meet at `key`, over a connection. Returns what ends that. */
export function lead(key: string, { locks, Channel }: Pick<Place, 'locks' | 'Channel'>, connection: Connection): () => void {
  const channel = new Channel(key);
  const leader = crypto.randomUUID();
  const over = new AbortController();
  /** By line, with the cursor that it was told last. */
  const lines = new Map<string, { subscription: Subscription; told: string | null }>();
  /** What each line shows, the one that said so last at the end. To the server there is one connection, which shows one chat. */
  const views = new Map<string, Record<string, unknown>>();
  /** The event being told: it comes once for each subscription that wants it. */
  let telling: { event: TidingsEvent; to: Set<string> } | null = null;

  function tell(told: Omit<Told, 'leader'>) {
    flush();
    if (!over.signal.aborted) channel.postMessage({ leader, ...told } satisfies Told);
  }

  function flush() {
    if (!telling) return;
    const { event, to } = telling;
    telling = null;
    tell({ to: [...to], event });
  }

  function tellEvent(line: string, event: TidingsEvent) {
    if (telling?.event !== event) {
      flush();
      telling = { event, to: new Set() };
      queueMicrotask(flush);
    }
    telling.to.add(line);
  }

  function join(line: string, { tenant, types, subject }: Wire, after: string | null) {
    const to = [line];
    const filter = { ...(tenant !== null && { tenant }), ...(types && { types }), ...(subject !== null && { subject }), after };
    const subscription = connection.subscribe(filter, {
      event: (event) => tellEvent(line, event as TidingsEvent),
      ready: ({ cursor, resumed, again }) => tell(again ? { to, again } : { to, opened: { cursor, resumed } }),
      reset: (reset) => tell({ to, reset }),
      error(problem) {
        lines.delete(line);
        // What ends the connection itself is this tab's affair: another one may have a better credential.
        if (problem.status !== 401 && problem.status < 500) tell({ to, refused: refusal(problem) });
      },
    });
    lines.set(line, { subscription, told: null });
    // A line that says nothing may be of a frozen tab, which lives. A lock is freed with its tab.
    locks.request(`${key} ${line}`, { signal: over.signal }, () => leave(line)).catch(() => {});
  }

  function leave(line: string) {
    lines.get(line)?.subscription.close();
    lines.delete(line);
    const shown = views.get(line);
    if (shown) look(line, { ...shown, session: null }).catch(() => {});
  }

  /** A tab that is hidden shows nothing; another one may, and may have said so before. */
  function look(line: string, args: Record<string, unknown>) {
    views.delete(line);
    if (args['session']) views.set(line, args);
    return connection.command('chat.view', [...views.values()].findLast(({ tenant }) => tenant === args['tenant']) ?? args);
  }

  channel.onmessage = ({ data }: MessageEvent<Said>) => {
    const { line, wire, after, word, command } = data ?? {};
    if (typeof line !== 'string') return;
    if (word === 'leave') return leave(line);
    if (word === 'reconnect') return connection.reconnect();
    if (wire && !lines.has(line)) join(line, wire, after ?? null);
    const to = [line];
    if (command) {
      const { id, name, args } = command;
      (name === 'chat.view' ? look(line, args) : connection.command(name, args)).then(
        (answer) => tell({ to, answer: { id, data: answer } }),
        (problem: Problem) => tell({ to, answer: { id, refused: refusal(problem) } }),
      );
      return;
    }
    // Somebody is there; and this is how far it is, where no event says so.
    const one = lines.get(line);
    const cursor = one?.subscription.cursor ?? null;
    if (one && cursor !== null && cursor !== one.told) tell({ to, moved: (one.told = cursor) });
    tell({ to, status: connection.status });
  };

  const unlisten = connection.onStatus((status) => {
    // Closed is this tab's affair: another one takes over.
    if (status.state !== 'closed') tell({ status });
  });
  tell({});
  return () => {
    over.abort();
    unlisten();
    channel.close();
    connection.close();
  };
}

const refusal = ({ code, detail, status, field, current }: Problem): Refusal => ({ code, detail, status, field, current });
