/** A refusal, as the server words it (RFC 9457), or `unreachable` where there was no answer. */
export class Problem extends Error {
  override readonly name = 'Problem';
  constructor(
    /** Stable: branch on this. */
    readonly code: string,
    /** For people. */
    readonly detail: string,
    /** HTTP status; 0 where there was no answer. */
    readonly status = 0,
    /** The member that is wrong, with 422. */
    readonly field: string | null = null,
    /** The state as it is, with 409. */
    readonly current: unknown = null,
    /** When to try again, in milliseconds; null where it did not say. */
    readonly retryAfterMs: number | null = null,
  ) {
    super(`${code}: ${detail}`);
  }
}
