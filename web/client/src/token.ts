/** The credential: asked for before each connect, once for all who want it at the same time, and anew before it runs out. */
import { claims } from './claims';
import { ANSWER_MS, within } from './within';

type Reason = 'connect' | 'expired' | 'refused';
export type GetToken = (why: { reason: Reason }) => string | null | Promise<string | null>;

/** So long before its end a token is replaced. */
const LEAD_MS = 30_000;

export class Token {
  value: string | null = null;
  #asked: Promise<string | null> | null = null;
  #dueAt = Infinity;

  /** Without anybody to ask, the cookie decides. */
  constructor(public ask: GetToken | undefined) {}

  /** Judged when it is needed, not by a timer: timers stand still while a laptop sleeps. */
  get due(): boolean {
    return Date.now() >= this.#dueAt;
  }

  /** As it is, or a new one where it has run out. */
  async current(): Promise<string | null> {
    return this.#asked ?? (this.value === null || this.due ? this.fresh() : this.value);
  }

  /** A new one. Whoever wants it at the same time gets the same. */
  fresh(reason: Reason = this.due ? 'expired' : 'connect'): Promise<string | null> {
    this.#asked ??= this.#fetch(reason).finally(() => (this.#asked = null));
    return this.#asked;
  }

  /** The server says so. */
  expire(): void {
    this.#dueAt = 0;
  }

  async #fetch(reason: Reason): Promise<string | null> {
    const { ask } = this;
    if (!ask) return null;
    try {
      this.value = await within(ANSWER_MS, Promise.resolve(ask({ reason })));
    } catch (error) {
      // Not again with every look at the clock.
      if (this.value !== null) this.#dueAt = Date.now() + LEAD_MS / 6;
      throw error;
    }
    const { exp } = claims(this.value);
    // Never at once again: on a machine whose clock is wrong every token seems to have run out.
    this.#dueAt = typeof exp === 'number' ? Math.max(exp * 1000 - LEAD_MS, Date.now() + LEAD_MS) : Infinity;
    return this.value;
  }
}
