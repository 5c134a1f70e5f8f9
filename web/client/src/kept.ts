/**
 * Cursors that outlive the page, for subscriptions with a name: loaded with the first of these. Under a key that says whose they are, so that the
 * next user of this tab does not go on where the last one was.
 */
import type { Api } from './api';
import { claims } from './claims';
import type { Member } from './subscription';

type Place = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;

/** A store for each event would be felt. */
const FLUSH_MS = 1_000;

export class Kept {
  readonly #keys = new WeakMap<Member, string>();
  readonly #used = new Set<string>();
  readonly #dirty = new Map<string, string>();
  readonly #api: Api;
  readonly #place: Place | null;
  #who: unknown;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** In the browser's own place, of this tab, where none is given. */
  constructor(api: Api, place: Place | null | undefined) {
    this.#api = api;
    this.#place = place === undefined ? tried(() => globalThis.sessionStorage ?? null) : place;
  }

  /** Finds where named subscriptions were before this page was loaded. */
  async recall(members: Iterable<Member>): Promise<void> {
    const api = this.#api;
    for (const member of members) {
      if (!member.name || this.#keys.has(member)) continue;
      this.#who ??= claims(api.token.value).sub ?? (await api.request<{ sub: string }>('GET', '/v1/session')).sub;
      const key = `tidings ${api.url} ${this.#who} ${member.tenant ?? ''} ${member.name}`;
      this.#keys.set(member, key);
      this.#used.add(key);
      member.cursor = tried(() => this.#place && this.#place.getItem(key)) ?? member.cursor;
    }
  }

  /** Written at the next `flush`. */
  note(member: Member): void {
    const key = this.#keys.get(member);
    if (key === undefined) return;
    this.#dirty.set(key, member.cursor!);
    this.#timer ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [key, cursor] of this.#dirty) tried(() => this.#place?.setItem(key, cursor));
    this.#dirty.clear();
  }

  forget(): void {
    for (const key of this.#used) tried(() => this.#place?.removeItem(key));
  }
}

/** Storage may be full, or may not even be looked at. Then a reload begins anew, and all else goes on. */
function tried<Result>(what: () => Result): Result | null {
  try {
    return what();
  } catch {
    return null;
  }
}
