/** The connection: its lanes, one for each tenant, the credential that they share, and what the browser says of network and page. */
import { Api } from './api';
import type { Connection, Filter, Handlers, Options, State, Status } from './connection';
import type { AnyEvents, TidingsEvent } from './event';
import type { Kept } from './kept';
import { IDLE, Lane } from './lane';
import { Problem } from './problem';
import type { Road } from './road';
import type { Own, Sharing } from './share';
import { Member } from './subscription';
import { Token } from './token';
import { Transports } from './transports';
import { detour } from './way';
import { ANSWER_MS, within } from './within';

/** The worst of the lanes is what is shown. */
const ORDER: readonly State[] = ['offline', 'connecting', 'polling', 'connected'];

/** Opens nothing yet: the first subscription does. */
export function connect<Map extends object = AnyEvents>(options: Options = {}): Connection<Map> {
  // In pages that were served securely; and where that part of the package does not come, this one is connected by itself.
  const mayShare = options.share !== false && typeof document === 'object' && navigator.locks;
  return open(options, mayShare ? (own) => within(ANSWER_MS, import('./share')).then(({ share }) => share(options, own, open), () => null) : null) as unknown as Connection<Map>;
}

/** A connection of this page alone, or one that it shares. */
export function open(options: Options, share: ((own: Own) => Promise<Sharing | null>) | null = null): Connection {
  const here = globalThis.location?.origin;
  const url = String(options.url ? new URL(options.url, here) : (here ?? '')).replace(/\/+$/, '');
  const tenant = options.tenant ?? null;
  const Socket = options.WebSocket ?? globalThis.WebSocket;
  const token = new Token(options.getToken);
  const api = new Api(url, token, options.fetch ?? ((...request) => fetch(...request)), options.clientName);
  const transports = new Transports(options.transport ?? 'auto', !!Socket);
  const lanes = new Map<string | null, Lane>();
  const listeners = new Set<(status: Status) => void>();
  let status: Status = { ...IDLE, since: Date.now(), shared: false, leads: !share };
  let over: Problem | null = null;
  /** Where one of the subscriptions has a name. */
  let kept: Kept | undefined;
  let keptAsked: Promise<void> | undefined;
  let sharing: Sharing | null = null;
  let sharingAsked: Promise<void> | undefined;
  let unwatch: (() => void) | undefined;

  const look = (): Status => {
    const used = [...lanes.values()].filter(({ convoy }) => convoy.members.size > 0);
    const shown = ORDER.flatMap((state) => used.filter(({ condition }) => condition.state === state))[0]?.condition;
    const worst = over ? { ...IDLE, state: 'closed' as const, reason: over.code } : (shown ?? IDLE);
    const now = { ...worst, since: worst.state === status.state ? status.since : Date.now(), shared: false, leads: !share };
    return sharing?.look(now) ?? now;
  };

  const changed = () => {
    const now = look();
    if (JSON.stringify(now) === JSON.stringify(status)) return;
    status = now;
    for (const listener of [...listeners]) listener(now);
  };

  const each = (what: (lane: Lane) => void) => [...lanes.values()].forEach(what);
  const reconnect = () => each((lane) => lane.reconnect());

  const finish = (why: Problem) => {
    if (over) return;
    over = why.status === 401 ? new Problem('unauthorised', why.detail, 401) : why;
    unwatch?.();
    kept?.flush();
    token.value = null;
    each((lane) => {
      for (const member of lane.convoy.members) why.code === 'closed' ? member.close() : member.refuse(why);
      lane.rest();
    });
    lanes.clear();
    sharing?.close();
    changed();
  };

  const road: Road = {
    api,
    transports,
    Socket,
    random: options.random ?? Math.random,
    changed,
    finish,
    async shared() {
      sharingAsked ??= share?.({ url, token, transports, changed, reconnect }).then((found) => {
        sharing = found;
        if (!found) share = null;
      });
      await sharingAsked;
      return sharing?.link;
    },
    async recall(members) {
      if (![...members].some(({ name }) => name)) return;
      // Where it does not come, nothing is kept, and all else goes on.
      await (keptAsked ??= within(ANSWER_MS, import('./kept')).then(({ Kept }) => void (kept = new Kept(api, options.storage)), () => void (keptAsked = undefined)));
      await kept?.recall(members);
    },
    moved: (member) => kept?.note(member),
  };

  /** What the browser tells of network and page. Elsewhere nobody tells, and the watch over heartbeats has to do. */
  const watch = () => {
    const control = new AbortController();
    const on = (target: Partial<EventTarget> | undefined, name: string, listener: (event: Event) => void) => target?.addEventListener?.(name, listener, { signal: control.signal });
    const page = globalThis.document;
    const wake = () => each((lane) => lane.wake());
    const back = () => {
      transports.forget();
      reconnect();
      wake();
    };
    on(globalThis, 'online', back);
    on(globalThis, 'offline', () => each((lane) => lane.leave('offline')));
    on(globalThis, 'pagehide', () => {
      kept?.flush();
      each((lane) => lane.leave('hidden'));
    });
    on(globalThis, 'pageshow', (event) => (event as PageTransitionEvent).persisted && back());
    on(page, 'visibilitychange', () => (page.hidden ? kept?.flush() : wake()));
    on(page, 'resume', wake);
    return () => control.abort();
  };

  return {
    url,
    tenant,
    get status() {
      return status;
    },
    onStatus(listener) {
      // Of its own, so that one function may be given twice.
      const told = (status: Status) => listener(status);
      listeners.add(told);
      return () => void listeners.delete(told);
    },
    subscribe(filter: Filter, handlers: Handlers<TidingsEvent> = {}) {
      const whose = filter.tenant ?? tenant;
      let lane = lanes.get(whose);
      const member = new Member(filter, whose, handlers, () => lane?.convoy.members.delete(member) && lane.update());
      if (over) {
        const why = over;
        queueMicrotask(() => member.refuse(why));
        return member;
      }
      unwatch ??= watch();
      if (!lane) lanes.set(whose, (lane = new Lane(whose, road)));
      lane.convoy.members.add(member);
      lane.update();
      return member;
    },
    request: (method, path, body, more) => api.request(method, path, { body, ...more }),
    async command<Answer>(name: string, given: Record<string, unknown>) {
      const args: Record<string, unknown> = tenant === null ? given : { tenant, ...given };
      const lane = lanes.get(args['tenant'] as string) ?? lanes.get(null);
      return (await (lane ? lane.command(name, args) : (await detour()).byRoute(api, name, args))) as Answer;
    },
    reconnect: () => sharing?.reconnect() || reconnect(),
    close() {
      finish(new Problem('closed', 'it was closed'));
      kept?.forget();
    },
  };
}
