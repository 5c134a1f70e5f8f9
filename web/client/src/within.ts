/** Patience with what may never answer: a proxy that holds a request, a page that is asked for a token, a file that does not come. */
import { Problem } from './problem';

/** For what is answered from what there is at hand. */
export const ANSWER_MS = 15_000;

/** The result, or a `Problem` when time is up. */
export async function within<Result>(ms: number, what: Promise<Result>, late = 'unreachable'): Promise<Result> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    return await Promise.race([what, new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Problem(late, 'no answer came')), ms)))]);
  } finally {
    clearTimeout(timer);
  }
}
