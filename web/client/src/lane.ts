/** One tenant's way to its events: the link in use, the next one, and when to make it. One stream carries what all subscriptions want, and each takes its own. */
import { backoff, STABLE_MS } from './backoff';
import type { Status, TransportName } from './connection';
import { Convoy } from './convoy';
import type { Link, MakeLink, Wire } from './link';
import { asProblem, EXPIRED, FINAL, isRefusal, Problem } from './problem';
import type { Road } from './road';
import type { Member } from './subscription';
import { detour, straight, wayOf } from './way';
import { carries, wireOf } from './wire';
import { within } from './within';

/** A transport that has not said hello by then is held up on its way. */
const HELLO_MS = 8_000;
/** Who is asked whether it is there answers by then, or is not. */
const WAKE_MS = 5_000;
const TICK_MS = 1_000;
/** Of what comes from the way and not from the server. */
const ON_THE_WAY = ['unreachable', 'buffered'];

/** What a lane has of a connection's status. */
export type Condition = Pick<Status, 'state' | 'transport' | 'reason' | 'retryAt'>;
export const IDLE: Condition = { state: 'connecting', transport: null, reason: null, retryAt: null };

export class Lane {
  readonly convoy: Convoy;
  condition = IDLE;

  #link: Link | null = null;
  #wire!: Wire;
  /** Of the link that is being opened, until it is; then it is its life. */
  #attempt: AbortController | null = null;
  #life: AbortController | null = null;
  /** What `chat.view` said last: it belongs to a connection, and is said again on the next. */
  #view: Record<string, unknown> | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ticks: ReturnType<typeof setInterval> | undefined;
  /** By when something has to come. */
  #deadline = 0;
  /** Nothing came, or the page slept: it was asked whether the other side is there. */
  #doubted = false;
  #heartbeatMs = 0;
  #openedAt = 0;
  #failed = 0;
  #credential: string | null = null;
  #away = false;
  #queued = false;
  readonly #road: Road;

  constructor(tenant: string | null, road: Road) {
    this.#road = road;
    this.convoy = new Convoy(road.api, tenant, road.moved);
  }

  /** After subscriptions came or went; those of one moment together. */
  update(): void {
    if (this.#queued) return;
    this.#queued = true;
    queueMicrotask(() => {
      this.#queued = false;
      const all = [...this.convoy.members];
      if (all.length === 0) return this.rest();
      if (this.#away || this.#attempt || this.#timer !== undefined || all.some(({ held }) => held)) return;
      const fresh = all.filter(({ live }) => !live);
      if (!this.#link || fresh.some((member) => member.name || !carries(this.#wire, member))) return void this.#open();
      // What they want is carried already: who wants only what is to come goes along.
      this.#admit(fresh, elsewhere(fresh, null), false);
    });
  }

  /** Now, if it waits. */
  reconnect(): void {
    this.#away = false;
    this.#wait();
    this.update();
  }

  /** No network, or the page is put away: nothing is tried until `reconnect`. */
  leave(reason: string): void {
    this.#away = true;
    this.#stop();
    this.#show({ state: 'offline', reason, retryAt: null });
  }

  /** Finds out whether what is open has outlived a sleep. */
  wake(): void {
    if (!this.#link) return void (this.#away || this.reconnect());
    // A stream cannot be asked: its next heartbeat has to come.
    if (!this.#doubted) this.#doubt(this.#link.ping ? WAKE_MS : this.#heartbeatMs + WAKE_MS);
  }

  /** For good, or until there are subscriptions again. */
  rest(): void {
    this.#stop();
    this.#view = null;
    this.#show(IDLE);
  }

  /** By the link, where that is open. */
  async command(name: string, args: Record<string, unknown>): Promise<unknown> {
    if (name === 'chat.view') this.#view = args;
    return this.#link ? this.#link.command(name, args) : (await detour()).byRoute(this.#road.api, name, args);
  }

  #stop(): void {
    this.#wait();
    this.#attempt?.abort();
    this.#life?.abort();
    clearInterval(this.#ticks);
    this.#attempt = this.#link = null;
    this.convoy.halt();
  }

  #show(change: Partial<Condition>): void {
    this.condition = { ...this.condition, ...change };
    this.#road.changed();
  }

  #wait(ms?: number): void {
    clearTimeout(this.#timer);
    this.#timer = ms === undefined ? ms : setTimeout(() => this.reconnect(), ms);
  }

  /** Opens a link: the first one, or one in place of that which carries on until then. */
  async #open(): Promise<void> {
    const { api, transports, shared, recall, Socket } = this.#road;
    const attempt = (this.#attempt = new AbortController());
    const { signal } = attempt;
    const began = Date.now();
    let tried: TransportName | null = null;
    let origin: string | null = null;
    if (!this.#link) this.#show({ state: 'connecting', retryAt: null });
    try {
      // On its way while the token is; and there already, if this tab leads one day, after a deployment. Whether it comes is seen when it is wanted.
      if (Socket) straight().catch(() => {});
      const byLeader = await shared();
      this.#credential = await api.token.fresh();
      if (!transports.known) transports.offer((await api.request<{ transports?: string[] }>('GET', '/v1/status', { signal })).transports ?? []);
      await recall(this.convoy.members);
      signal.throwIfAborted();
      const transport = transports.choose();
      if (!this.#link) this.#show({ transport });
      const make = byLeader ?? (await wayOf(transport, this.#road));
      signal.throwIfAborted();
      tried = transport;
      origin = this.convoy.origin(!!this.#link);
      const opening = this.#begin(make, transport, origin, attempt);
      // Who leads knows best how long it takes.
      await (byLeader ? opening : within(HELLO_MS, opening, 'buffered'));
      transports.works(transport);
    } catch (error) {
      if (signal.aborted) return;
      attempt.abort();
      this.#attempt = null;
      const why = asProblem(error);
      const there = [...this.convoy.members].filter(({ cursor }) => cursor === origin);
      if (origin !== null && this.convoy.lose(there, why)) return this.update();
      if (tried && ON_THE_WAY.includes(why.code)) {
        // The server can be reached, but not so. Where that is not known, it is asked before the next attempt.
        if (api.answeredAt >= began && transports.block(tried)) return this.update();
        transports.doubt();
      }
      this.#again(why);
    }
    this.update();
  }

  #begin(make: MakeLink, transport: TransportName, origin: string | null, attempt: AbortController): Promise<void> {
    return new Promise((resolve, reject) => {
      const { convoy } = this;
      const all = [...convoy.members];
      const behind = elsewhere(all, origin);
      const wire = wireOf(convoy.tenant, all);
      const mine = () => this.#link === link;
      const link = make(wire, origin, {
        alive: () => mine() && this.#alive(),
        opened: ({ cursor, resumed, heartbeatMs }) => {
          this.#life?.abort();
          clearInterval(this.#ticks);
          [this.#link, this.#life, this.#attempt] = [link, attempt, null];
          this.#ticks = setInterval(() => this.#tick(), TICK_MS);
          this.#openedAt = Date.now();
          this.#wire = wire;
          this.#heartbeatMs = heartbeatMs;
          this.#alive();
          this.#show({ state: transport === 'poll' ? 'polling' : 'connected', transport, reason: null, retryAt: null });
          convoy.cursor = cursor;
          this.#admit(all, behind, resumed);
          if (this.#view) this.command('chat.view', this.#view).catch(() => {});
          resolve();
        },
        event: (event) => mine() && convoy.event(event),
        moved: (cursor) => mine() && convoy.advance(cursor),
        reset: (reason, cursor) => mine() && convoy.reset(reason, cursor),
        ended: (why) => (mine() ? this.#ended(why) : reject(why)),
      });
      attempt.signal.addEventListener('abort', () => {
        link.close();
        reject(attempt.signal.reason);
      });
    });
  }

  /** To the link that is open. What it brings is held for those who are elsewhere, until they are where it is. */
  #admit(all: readonly Member[], behind: readonly Member[], resumed: boolean): void {
    const { signal } = this.#life!;
    for (const member of all)
      if (behind.includes(member)) [member.live, member.held] = [false, []];
      else this.convoy.join(member, resumed);
    if (behind.length === 0) return;
    detour()
      .then(({ follow }) => follow(this.convoy, behind, signal))
      .then(
        () => this.update(),
        (error) => {
          if (signal.aborted) return;
          for (const member of behind) member.held = null;
          this.#again(asProblem(error));
        },
      );
  }

  #alive(): void {
    this.#doubted = false;
    this.#deadline = Date.now() + 2 * this.#heartbeatMs;
  }

  /** Asks whether anybody is there. */
  #doubt(patienceMs: number): void {
    this.#doubted = true;
    this.#deadline = Date.now() + patienceMs;
    this.#link!.ping?.();
  }

  #tick(): void {
    const { transports, api } = this.#road;
    const { token } = api;
    const link = this.#link!;
    if (Date.now() > this.#deadline) {
      if (this.#doubted) return this.#ended(new Problem('silent', 'no heartbeat came'));
      // After a sleep silence says nothing yet.
      this.#doubt(WAKE_MS);
    }
    if (token.due) return void token.fresh().catch(() => {});
    const renewed = token.value !== this.#credential;
    this.#credential = token.value;
    if (renewed && token.value !== null && link.renew) link.renew(token.value);
    else if ((renewed || (link.transport !== transports.choose() && this.#timer === undefined)) && !this.#attempt) void this.#open();
  }

  #ended(why: Problem): void {
    const { transports } = this.#road;
    const { transport } = this.#link!;
    if (Date.now() - this.#openedAt >= STABLE_MS) this.#failed = 0;
    else if (this.#failed > 2 && why.status === 0) transports.block(transport);
    if (transport === 'websocket') transports.doubt();
    this.#stop();
    this.#again(why);
    this.update();
  }

  /** What a refusal or an end comes to: never again, not for these, or later. */
  #again(why: Problem): void {
    const { token } = this.#road.api;
    if (why.status === EXPIRED && token.ask) token.expire();
    else if (why.status === 401 || why.status >= FINAL) return this.#road.finish(why);
    else if (isRefusal(why)) return void this.#refuse(why);
    this.#later(why);
  }

  #later({ code, retryAfterMs }: Problem): void {
    const ms = backoff(this.#failed++, this.#road.random, retryAfterMs);
    this.#wait(ms);
    // Where the old link carries on, nobody has to know that a new one did not come about.
    if (!this.#link) this.#show({ state: 'connecting', reason: code, retryAt: Date.now() + ms });
  }

  /** One of them cannot be: finds out which. */
  async #refuse(why: Problem): Promise<void> {
    const { signal } = (this.#attempt = new AbortController());
    const found = await detour().then(({ refuse }) => refuse(this.convoy, why, signal)).catch(() => false);
    if (signal.aborted) return;
    this.#attempt = null;
    if (!found) this.#later(why);
    this.update();
  }
}

/** Who is not where a link begins. Who wants only what is to come is anywhere. */
const elsewhere = (all: readonly Member[], origin: string | null) => all.filter(({ cursor }) => cursor !== null && cursor !== origin);
