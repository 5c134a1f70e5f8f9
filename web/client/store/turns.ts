/**
 * Some at a time, the others wait: a socket runs one command after the other and holds few more, and a bulk command is hundreds. What the server
 * has no room for now is asked again when it says.
 */
import { Problem } from '../src/problem';

const triesMax = 8;

/** At most `limit` under way at once, in the order in which they were asked for. */
export function turns(limit: number): <Answer>(ask: () => Promise<Answer>) => Promise<Answer> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (ask) => {
    if (running >= limit) await new Promise<void>((go) => waiting.push(go));
    else running += 1;
    try {
      for (let tries = 1; ; tries += 1) {
        try {
          return await ask();
        } catch (error) {
          const isCrowded = error instanceof Problem && (error.status === 429 || error.code === 'too_many_commands' || error.code === 'too_many_requests');
          if (!isCrowded || tries === triesMax) throw error;
          await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs ?? 250 * tries));
        }
      }
    } finally {
      // The turn is handed on, so nobody who asks now comes before those who wait.
      const next = waiting.shift();
      if (next) next();
      else running -= 1;
    }
  };
}
