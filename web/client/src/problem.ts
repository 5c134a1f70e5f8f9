/** A refusal, as the server words it (RFC 9457), or `unreachable` where there was no answer. */
export class Problem extends Error {
  override readonly name = 'Problem';
  constructor(
    /** Stable: branch on this. */
    readonly code: string,
    /** For people. */
    readonly detail: string,
    /** HTTP status, or the code that the connection was closed with; 0 where there was no answer. */
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

/** What was thrown, as what it means here: whatever is not the server's word is no answer. */
export function asProblem(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem('unreachable', String(error));
}

/** Close codes from here on: not to come back without a change. */
export const FINAL = 4500;
/** Except this one: with a new token. */
export const EXPIRED = 4510;

/** Of the request itself, which will not be answered otherwise later. */
export function isRefusal({ code, status }: Problem): boolean {
  return code !== 'unreachable' && status >= 400 && status < 500 && ![408, 425, 429].includes(status);
}

/** The cursor is too old, or none of this server's. */
export function isLost({ status, field }: Problem): boolean {
  return status === 410 || (status === 422 && (field ?? 'after') === 'after');
}
