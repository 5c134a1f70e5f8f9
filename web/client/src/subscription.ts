/** One subscription: what it wants, how far it is, and whom it tells. Where its events come from is its lane's business. */
import type { Filter, Handlers, Ready, Subscription } from './connection';
import type { TidingsEvent } from './event';
import { matcher } from './glob';
import { Problem } from './problem';
import { Seen } from './seen';

export class Member implements Subscription<TidingsEvent> {
  cursor: string | null;
  readonly types: readonly string[] | null;
  readonly subject: string | null;
  readonly name: string | undefined;
  readonly ready: Promise<Ready>;
  /** Takes part in what its lane's link brings. */
  live = false;
  /** What the link brought while older events are still being fetched. */
  held: TidingsEvent[] | null = null;
  /** Why what was missed cannot be told, until it is told. */
  lost: string | null = null;
  /** Whether its `ready` of this connection was told. */
  told = false;

  #again = false;
  #over = false;
  #problem: Problem | null = null;
  /** For the iterator. From the beginning where nobody else is told. */
  #queue: TidingsEvent[] | null;
  #wake: (() => void)[] = [];
  #settle!: { resolve: (ready: Ready) => void; reject: (problem: Problem) => void };
  readonly #seen = new Seen();
  readonly #pattern: RegExp;
  readonly #handlers: Handlers<TidingsEvent>;
  readonly #ended: (member: Member) => void;

  constructor(
    { types, subject, name, after, signal }: Filter,
    readonly tenant: string | null,
    handlers: Handlers<TidingsEvent>,
    /** Called once, when it has ended. */
    ended: (member: Member) => void,
  ) {
    this.types = types?.length ? types : null;
    this.subject = subject ?? null;
    this.name = name;
    this.cursor = after ?? null;
    this.#pattern = matcher(this.types);
    this.#handlers = handlers;
    this.#ended = ended;
    this.#queue = handlers.event ? null : [];
    this.ready = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    // Whoever does not ask for it is not to hear of an unhandled rejection.
    this.ready.catch(() => {});
    signal?.addEventListener('abort', this.close, { once: true });
    if (signal?.aborted) queueMicrotask(this.close);
  }

  wants({ type, subject }: TidingsEvent): boolean {
    return this.#pattern.test(type) && (this.subject === null || subject === this.subject);
  }

  /** An event of the lane, which may not be wanted, or may have come before. */
  take(event: TidingsEvent): void {
    if (this.#over || !this.wants(event) || (event.id !== undefined && !this.#seen.first(event.id))) return;
    this.#queue?.push(event);
    this.#awake();
    this.#tell(() => this.#handlers.event?.(event));
  }

  /** Tells `ready` once for each connection, and what was lost. */
  begin(cursor: string, resumed: boolean): void {
    this.cursor = cursor;
    if (!this.told) {
      this.told = true;
      const ready = { cursor, resumed: resumed && this.lost === null, again: this.#again };
      this.#again = true;
      this.#settle.resolve(ready);
      this.#tell(() => this.#handlers.ready?.(ready));
    }
    if (this.lost !== null) this.reset(this.lost, cursor);
  }

  reset(reason: string, cursor: string | null): void {
    this.lost = null;
    this.cursor = cursor;
    this.#tell(() => this.#handlers.reset?.({ reason, cursor }));
  }

  refuse(problem: Problem): void {
    if (this.#over) return;
    this.#problem = problem;
    this.#settle.reject(problem);
    this.#tell(() => this.#handlers.error?.(problem));
    this.close();
  }

  close = (): void => {
    if (this.#over) return;
    this.#over = true;
    this.#settle.reject(new Problem('closed', 'it was closed'));
    this.#awake();
    this.#ended(this);
  };

  [Symbol.dispose](): void {
    this.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TidingsEvent> {
    const queue = (this.#queue ??= []);
    try {
      for (;;) {
        while (queue.length) yield queue.shift()!;
        if (this.#problem) throw this.#problem;
        if (this.#over) return;
        await new Promise<void>((resolve) => this.#wake.push(resolve));
      }
    } finally {
      this.close();
    }
  }

  #awake(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** What a handler throws is its page's, and must not end everybody's events. */
  #tell(handler: () => void): void {
    try {
      handler();
    } catch (error) {
      (globalThis.reportError ?? console.error)(error);
    }
  }
}
