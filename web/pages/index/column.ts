/**
 * One tenant over one transport: what came, how long it took, and whether anything was lost. The client package does the connecting; this counts,
 * and asks another witness (the JSON page after the same cursor) what should have come while it was away.
 */
import { Problem, type Connection, type Options, type Status, type Subscription, type TidingsEvent, type TransportName } from '@tidings/client';
import { cell, type Store } from '../../client/store/store';
import { texts } from '../texts';
import type { Causes } from './causes';
import { now } from './latency';
import type { Bytes } from './wire';

/** Rows kept in a column. */
export const ROWS_MAX = 60;
/** Latencies kept: enough for a p99 that one outlier does not own. */
const SAMPLES_MAX = 240;
/** Ids remembered, to tell a repeat from an event. */
const SEEN_MAX = 5_000;
export const AWAY_MS = 5_000;
/** How long an event that is owed after an absence may take before it counts as missed. */
const CHECK_MS = 10_000;

export interface Row {
  key: number;
  event: TidingsEvent;
  bytes: Bytes | null;
  transport: TransportName;
  /** From the write to here; null where the event does not say when it was. */
  ms: number | null;
  /** Came after it was missed. */
  late: boolean;
  yours: boolean;
}

export interface Note {
  text: string;
  tone: 'good' | 'warn' | 'bad' | null;
}

export interface ColumnState {
  readonly tenant: string;
  readonly transport: TransportName;
  readonly status: Status | null;
  /** Away on purpose until then. */
  readonly awayUntil: number | null;
  readonly note: Note;
  readonly rows: readonly Row[];
  /** Newer ones that wait while somebody reads. */
  readonly held: number;
  readonly total: number;
  readonly perSecond: number;
  /** Missed of those that an absence owed. */
  readonly missed: number;
  readonly checked: number;
  /** Of other tenants: never. */
  readonly foreign: number;
  readonly latencies: readonly number[];
}

export interface Column extends Store<ColumnState> {
  choose(tenant: string): void;
  switchTo(transport: TransportName): void;
  leave(): void;
  comeBack(): Promise<void>;
  insert(name: string): Promise<void>;
  publish(): Promise<void>;
  /** While somebody reads, new rows wait. */
  read(reading: boolean): void;
  close(): void;
}

export interface ColumnNeeds {
  tenant: string;
  transport: TransportName;
  open(options: Options): Connection;
  bytesOf(event: TidingsEvent): Bytes | null;
  causes: Causes;
  /** Draws once for many events. */
  frame?: (draw: () => void) => void;
}

const says = texts.index;
const segment = (text: string) => encodeURIComponent(text);

export function openColumn({ tenant, transport, open, bytesOf, causes, frame = requestAnimationFrame }: ColumnNeeds): Column {
  const fresh = { note: { text: '', tone: null }, rows: [], held: 0, total: 0, perSecond: 0, missed: 0, checked: 0, foreign: 0, latencies: [] } as const;
  let next: ColumnState = { tenant, transport, status: null, awayUntil: null, ...fresh };
  const state = cell(next);
  let drawing = false;
  const set = (change: Partial<ColumnState>) => {
    next = { ...next, ...change };
    if (drawing) return;
    drawing = true;
    frame(() => {
      drawing = false;
      state.set(next);
    });
  };
  const note = (text: string, tone: Note['tone'] = null) => set({ note: { text, tone } });

  const self = {};
  let connection: Connection | null = null;
  let subscription: Subscription | null = null;
  let cursor: string | null = null;
  let seen = new Set<string>();
  let pending: Row[] = [];
  let reading = false;
  let keys = 0;
  let liveSince = 0;
  let caughtUp = 0;
  let owed: Set<string> | null = null;
  let owedAtFirst = 0;
  let perSecond: number[] = [];
  let thisSecond = 0;
  const timers = { away: 0, check: 0, settle: 0 } as Record<'away' | 'check' | 'settle', ReturnType<typeof setTimeout> | number>;
  const every = setInterval(() => {
    perSecond = [...perSecond, thisSecond].slice(-5);
    thisSecond = 0;
    const rate = perSecond.reduce((sum, count) => sum + count, 0) / perSecond.length;
    if (rate !== next.perSecond) set({ perSecond: rate });
  }, 1_000);

  // -- the connection --

  function connect() {
    hangUp();
    if (!next.tenant) return note(says.noTenant, 'warn');
    const link = (connection = open({ tenant: next.tenant, transport: next.transport, share: false, clientName: `live page, ${next.transport}` }));
    link.onStatus((status) => {
      if (link !== connection) return;
      set({ status });
      if (status.state === 'closed') note(says.stopped(status.reason ?? ''), 'bad');
    });
    set({ status: link.status, awayUntil: null });
    subscription = link.subscribe({ after: cursor }, {
      event: (event) => link === connection && receive(event),
      ready: ({ resumed, again }) => {
        if (link !== connection) return;
        liveSince = now();
        caughtUp = 0;
        if (owed) {
          if (!owed.size) settleOwed();
          else timers.check = setTimeout(settleOwed, CHECK_MS);
        } else if (again || resumed) timers.settle = setTimeout(() => note(says.resumed(caughtUp), 'good'), 1_500);
        else note(says.live);
      },
      reset: ({ reason }) => {
        owed = null;
        note(says.reset(reason), 'warn');
      },
      error: (problem) => note(says.refused(problem.detail), 'bad'),
    });
    subscription.ready.catch(() => undefined);  // `error` has told it
  }

  function hangUp() {
    for (const timer of Object.values(timers)) clearTimeout(timer);
    cursor = subscription?.cursor ?? cursor;
    const ended = connection;
    connection = subscription = null;
    ended?.close();
  }

  // -- away, and the proof that nothing was lost --

  /** The ids that the JSON page lists after the cursor. Null when it cannot say. */
  async function committedSince(asked: Connection, after: string): Promise<string[] | null> {
    const ids: string[] = [];
    try {
      for (let more = true, from = after, pages = 0; more && pages < 10; pages++) {
        const page = await asked.request<{ events: TidingsEvent[]; cursor: string; more: boolean }>('GET', `/v1/tenants/${segment(next.tenant)}/events?limit=1000&after=${segment(from)}`);
        ids.push(...page.events.flatMap(({ id }) => id ?? []));
        ({ cursor: from, more } = page);
      }
      return ids;
    } catch {
      return null;
    }
  }

  async function comeBack() {
    clearTimeout(timers.away);
    const { tenant } = next;
    const asked = open({ tenant, share: false });
    const ids = cursor === null ? [] : await committedSince(asked, cursor);
    asked.close();
    if (tenant !== next.tenant || connection) return;
    owed = ids && new Set(ids.filter((id) => !seen.has(id)));
    owedAtFirst = owed?.size ?? 0;
    connect();
  }

  function settleOwed() {
    clearTimeout(timers.check);
    const missing = owed?.size ?? 0;
    owed = null;
    set({ missed: next.missed + missing, checked: next.checked + owedAtFirst });
    note(says.back(owedAtFirst - missing, owedAtFirst), missing ? 'bad' : 'good');
  }

  // -- events --

  function receive(event: TidingsEvent) {
    const at = now();
    const wasOwed = event.id !== undefined && (owed?.delete(event.id) ?? false);
    if (event.id === undefined || !seen.has(event.id)) {
      if (event.id !== undefined) seen.add(event.id);
      if (seen.size > SEEN_MAX) seen.delete(seen.values().next().value!);
      const written = Date.parse(event.time);
      const late = wasOwed || written < liveSince;
      const ms = Number.isNaN(written) ? null : Math.max(0, at - written);
      if (late) caughtUp++;
      thisSecond++;
      const row: Row = { key: ++keys, event, bytes: bytesOf(event), transport: connection?.status.transport ?? next.transport, ms, late, yours: false };
      pending = [claimed(row, at), ...pending].slice(0, ROWS_MAX);
      set({
        total: next.total + 1,
        foreign: next.foreign + (event.tenant === next.tenant ? 0 : 1),
        latencies: late || ms === null ? next.latencies : [...next.latencies, ms].slice(-SAMPLES_MAX),
        held: reading ? next.held + 1 : 0,
      });
      show();
    }
    if (wasOwed && !owed?.size) settleOwed();
  }

  function show() {
    if (reading || !pending.length) return;
    set({ rows: [...pending, ...next.rows].slice(0, ROWS_MAX), held: 0 });
    pending = [];
  }

  /** Is this what a button of this page caused? Says so once, with what it took. */
  function claimed(row: Row, at = now()): Row {
    const cause = causes.of(row.event);
    if (!cause) return row;
    if (!cause.told.has(self)) {
      cause.told.add(self);
      note(says.caused(cause.what, cause.answerMs, Math.max(0, at - cause.pressedAt)), 'good');
    }
    return { ...row, yours: true };
  }

  async function cause(path: string, body: unknown, keyOf: (made: { id: string }) => { subject: string } | { id: string }, what: (id: string) => string) {
    const { tenant } = next;
    const asked = connection ?? open({ tenant, share: false });
    const pressedAt = now();
    try {
      const made = await asked.request<{ id: string }>('POST', path, body);
      const caused = { what: what(made.id), pressedAt, answerMs: now() - pressedAt, told: new Set<object>() };
      causes.add(tenant, keyOf(made), caused);
      note(says.waitingFor(caused.what, caused.answerMs));
      // The event often overtakes the answer to the request that caused it: look at what is here already.
      pending = pending.map((row) => claimed(row));
      set({ rows: next.rows.map((row) => claimed(row)) });
    } catch (problem) {
      note(says.notDone(problem instanceof Problem ? problem.detail : String(problem)), 'bad');
    } finally {
      if (asked !== connection) asked.close();
    }
  }

  connect();
  return {
    get: state.get,
    subscribe: state.subscribe,
    choose(tenant) {
      hangUp();
      cursor = owed = null;
      seen = new Set();
      pending = [];
      perSecond = [];
      // Nothing of the one before stays, its cursor least of all.
      set({ tenant, status: null, ...fresh });
      connect();
    },
    switchTo(transport) {
      set({ transport, latencies: [] });  // a median over two transports would describe neither
      hangUp();
      connect();
      note(says.switched);
    },
    leave() {
      hangUp();
      set({ awayUntil: Date.now() + AWAY_MS, status: null });
      note(says.away, 'warn');
      timers.away = setTimeout(() => void comeBack(), AWAY_MS);
    },
    comeBack,
    insert: (name) => cause(`/v1/tenants/${segment(next.tenant)}/documents`, { name }, ({ id }) => ({ subject: id }), says.inserted),
    publish: () => cause(`/v1/tenants/${segment(next.tenant)}/events`, { type: 'demo.hello', data: { text: says.hello, to: next.tenant } }, ({ id }) => ({ id }), () => says.published),
    read(now) {
      reading = now;
      show();
    },
    close() {
      clearInterval(every);
      hangUp();
    },
  };
}
