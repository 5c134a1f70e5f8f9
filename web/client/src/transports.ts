/** Which transport to take: the best that the server offers and that nothing on the way has been found to block. */
import type { TransportName } from './connection';

const ORDER: readonly TransportName[] = ['websocket', 'sse', 'poll'];
/** Looked at again after so long, then after twice as long, up to half an hour. */
const AGAIN_MS = 60_000;
const LONGEST_MS = 1_800_000;

export class Transports {
  /** Whether it is known what the server offers. Otherwise it is asked before the next attempt. */
  known = false;
  #usable: readonly TransportName[] = [];
  #fixed = false;
  readonly #blocked = new Map<TransportName, { ms: number; until: number }>();
  readonly #sockets: boolean;

  constructor(wanted: 'auto' | TransportName, sockets: boolean) {
    this.#sockets = sockets;
    if (wanted !== 'auto') this.fix(wanted);
  }

  /** This one, whatever happens. */
  fix(name: TransportName): void {
    this.#usable = [name];
    this.known = this.#fixed = true;
  }

  offer(offered: readonly string[]): void {
    this.#usable = ORDER.filter((name) => offered.includes(name) && (name !== 'websocket' || this.#sockets));
    this.known = true;
  }

  /** Something else than expected. */
  doubt(): void {
    this.known = this.#fixed;
  }

  choose(): TransportName {
    const usable = this.#usable;
    return usable.find((name) => (this.#blocked.get(name)?.until ?? 0) <= Date.now()) ?? usable.at(-1) ?? 'sse';
  }

  /** Whether there is another one to take in its place. */
  block(name: TransportName): boolean {
    const ms = Math.min(LONGEST_MS, 2 * (this.#blocked.get(name)?.ms ?? AGAIN_MS / 2));
    this.#blocked.set(name, { ms, until: Date.now() + ms });
    return this.choose() !== name;
  }

  works(name: TransportName): void {
    this.#blocked.delete(name);
  }

  /** The network is another one, perhaps. */
  forget(): void {
    this.#blocked.clear();
  }
}
