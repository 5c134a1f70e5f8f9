/** Ids of what was delivered last, so that a repeat is known. Bounded: repeats come close behind, when a stream is taken up again. */
const MOST = 2_048;

export class Seen {
  readonly #ids = new Set<string>();

  /** Whether this is the first time. */
  first(id: string): boolean {
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    if (this.#ids.size > MOST) for (const oldest of this.#ids) return this.#ids.delete(oldest);
    return true;
  }
}
