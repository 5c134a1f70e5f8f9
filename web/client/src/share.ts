/**
 * One connection per browser: of the tabs of one user, one leads and holds it (`leader.ts`), and the others hear of it from that tab.
 *
 * Each tab has a connection of its own whose link is a line to the leader (`line.ts`), the leader's tab too; so whoever leads,
 * subscriptions, cursors and repeats are dealt with in one way. Requests go from each tab by itself, with its own credential.
 * Why not a SharedWorker: Chrome for Android lacks it, and `getToken` could not be asked there. Loaded when a page that can share subscribes; one that
 * was loaded before a deployment, and no longer finds it, connects by itself.
 */
import type { Connection, Options, Status } from './connection';
import { groupName, whose } from './identity';
import { lead } from './leader';
import type { Place } from './leader';
import { line } from './line';
import type { Group, SharedLink } from './line';
import type { MakeLink } from './link';
import { Problem } from './problem';
import { sit } from './seat';
import type { Seat } from './seat';
import type { Token } from './token';
import type { Transports } from './transports';

export type { Place } from './leader';

/** A leader that does not answer so many pings is frozen, or gone without freeing the lock. */
const PINGS_MAX = 3;

/** What a connection lends to the sharing of it. */
export interface Own {
  readonly url: string;
  readonly token: Token;
  readonly transports: Transports;
  /** The status is to be looked at. */
  changed(): void;
  reconnect(): void;
}

/** What it gets. */
export interface Sharing {
  /** In place of the transports. */
  readonly link: MakeLink;
  /** How it is, where its own status is that. */
  look(own: Status): Status;
  /** By the leader. False where there is none. */
  reconnect(): boolean;
  close(): void;
}

/** Where the tabs of this browser meet. */
const HERE: Place = { locks: globalThis.navigator?.locks, Channel: globalThis.BroadcastChannel, page: globalThis };

/** Shares this tab's own connection with the other tabs; `open` makes the one that the leader holds. */
export function share(options: Options, own: Own, open: (options: Options) => Connection, place: Place = HERE): Sharing {
  // Lines name their tenant, or mean all.
  const { tenant: _, getToken, ...rest } = options;
  const { token } = own;
  const lines = new Set<SharedLink>();
  /** Those that a leader answers, and how its connection is. */
  const joined = new Set<SharedLink>();
  let mirrored: Status | null = null;
  let seat: Seat | null = null;
  let leads = false;
  /** The token of this tab; null: the cookie decides. */
  let credential: string | null = null;
  /** Whose the cookie is, until this tab was away. */
  let session: string | null = null;
  let closed = false;

  const group: Group = {
    ...place,
    async enter() {
      // One that was asked for before there was anything to share.
      credential ??= token.value;
      const key = await nameOf(credential);
      if (closed) throw new Problem('closed', 'it was closed');
      if (seat?.key !== key) {
        seat?.leave();
        seat = sit(key, place.locks, () => takeLead(key));
        own.changed();
      }
      return key;
    },
    mirror(line, told) {
      joined.add(line);
      mirrored = told;
      own.changed();
    },
    silence(pings) {
      if (pings > PINGS_MAX) seat?.steal();
    },
    moved: own.reconnect,
    ended(line) {
      lines.delete(line);
      joined.delete(line);
    },
  };

  if (getToken) token.ask = (why) => tokenOf(why, false);
  // Lines are spoken of as that; what the server offers is the leader's to ask.
  own.transports.fix('websocket');

  function takeLead(key: string) {
    const connection = open({ ...rest, storage: null, getToken: (why) => tokenOf(why, true) });
    const end = lead(key, place, connection);
    const unlisten = connection.onStatus(({ state, reason }) => {
      // Refused for good. The next tab in the queue may have a better credential; this one is told.
      if (state === 'closed') part(new Problem(reason ?? 'unauthorised', 'the server refused the connection', 4501));
    });
    leads = true;
    own.changed();
    return () => {
      unlisten();
      end();
      leads = false;
      own.changed();
    };
  }

  /** Leaves the others. */
  function part(why: Problem) {
    session = null;
    seat?.leave();
    seat = null;
    for (const line of [...lines]) line.end(why);
  }

  const away = () => part(new Problem('offline', 'the page was put away'));

  /** Every token of this tab passes here, and before each connect of a leader the cookie: with somebody else's, this tab is no longer one of the group. */
  async function tokenOf(why: { reason: 'connect' | 'expired' | 'refused' }, leading: boolean) {
    credential = (await getToken?.(why)) ?? null;
    if (leading) session = null;
    if (seat && (leading || credential !== null) && seat.key !== (await nameOf(credential))) {
      part(new Problem('unreachable', 'the user is another one'));
      own.reconnect();
    }
    return credential;
  }

  async function nameOf(credential: string | null) {
    if (credential !== null) return groupName([own.url, options.transport, whose(credential)]);
    session ??= await cookieOf();
    return groupName([own.url, options.transport, session]);
  }

  /** Not by the connection's own `request`: that would wait for the token that waits for this. */
  async function cookieOf(): Promise<string> {
    const response = await (options.fetch ?? fetch)(`${own.url}/v1/session`, { credentials: 'include', cache: 'no-store' });
    if (!response.ok) throw new Problem('unauthorised', 'the server does not know who this is', response.status);
    const { sub, role, tenants } = (await response.json()) as Record<string, unknown>;
    return JSON.stringify([sub, role, tenants]);
  }

  // A page in the back/forward cache holds no lock, and a frozen one would lead and do nothing.
  const puttingAway = ['pagehide', 'freeze'];
  for (const name of puttingAway) place.page.addEventListener(name, away, true);

  return {
    link(wire, after, ears) {
      const link = line(group, wire, after, ears);
      lines.add(link);
      return link;
    },
    look: (status) => ({ ...((joined.size && mirrored) || status), shared: seat !== null && !leads, leads }),
    reconnect() {
      const [line] = joined;
      line?.reconnect();
      return !!line;
    },
    close() {
      closed = true;
      for (const name of puttingAway) place.page.removeEventListener(name, away, true);
      part(new Problem('closed', 'it was closed'));
    },
  };
}
