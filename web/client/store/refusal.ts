import { Problem } from '../src/problem';

/** What was thrown, as a `Problem`: what is none had no answer behind it. */
export function problemOf(thrown: unknown): Problem {
  return thrown instanceof Problem ? thrown : new Problem('unreachable', thrown instanceof Error ? thrown.message : String(thrown));
}

/** Whether the same may be granted later without anything being changed: no answer, too much at once, or a server that is ill. */
export function passing({ code, status }: Problem): boolean {
  return code !== 'closed' && (status === 0 || status === 408 || status === 429 || (status >= 500 && status !== 501));
}
