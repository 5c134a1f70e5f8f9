/** Requests with the connection's credential. All that is not an answer of the server's is `unreachable`, whoever gave it. */
import { asProblem, Problem } from './problem';
import type { Token } from './token';
import { ANSWER_MS, within } from './within';

export interface More {
  body?: unknown;
  signal?: AbortSignal | undefined;
  headers?: Record<string, string> | undefined;
}

export class Api {
  /** When the server answered last, as what it is and not through somebody on the way. */
  answeredAt = 0;
  /** What the operator sees of this client. The server takes up to 64 printable ASCII characters. */
  readonly client: string | undefined;

  readonly #fetcher: typeof fetch;

  constructor(
    readonly url: string,
    readonly token: Token,
    fetcher: typeof fetch,
    clientName: string | undefined,
  ) {
    this.#fetcher = fetcher;
    this.client = clientName?.replace(/[^ -~]/g, '').slice(0, 64) || undefined;
  }

  /** An answer of 2xx; everything else is thrown. A token that was refused is replaced, and the request made once more. */
  async send(method: string, path: string, more: More): Promise<Response> {
    const { token } = this;
    const used = await token.current();
    let response = await this.#fetch(method, path, more, used);
    if (response.status === 401 && token.ask) {
      void response.body?.cancel();
      const now = await token.current();
      response = await this.#fetch(method, path, more, now === used ? await token.fresh('refused') : now);
    }
    if (!response.ok) throw await refusalOf(response);
    this.answeredAt = Date.now();
    return response;
  }

  /** The same, read as JSON or otherwise, in time. What is thrown is a `Problem`, or the reason of the signal. */
  async request<Answer>(method: string, path: string, more: More = {}, withinMs = ANSWER_MS, read: (response: Response) => Promise<Answer> = json): Promise<Answer> {
    const control = new AbortController();
    const { signal } = more;
    const stop = () => control.abort(signal!.reason);
    signal?.addEventListener('abort', stop, { signal: control.signal });
    if (signal?.aborted) stop();
    try {
      return await within(withinMs, this.send(method, path, { ...more, signal: control.signal }).then(read));
    } catch (error) {
      throw signal?.aborted ? signal.reason : asProblem(error);
    } finally {
      control.abort();
    }
  }

  #fetch(method: string, path: string, { body, signal, headers }: More, token: string | null): Promise<Response> {
    const fetcher = this.#fetcher;
    return fetcher(this.url + path, {
      method,
      credentials: 'include',
      cache: 'no-store',
      signal: signal ?? null,
      body: JSON.stringify(body),
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(token !== null && { authorization: `Bearer ${token}` }),
        ...headers,
      },
    });
  }
}

async function json<Answer>(response: Response): Promise<Answer> {
  const text = await response.text();
  return (text ? JSON.parse(text) : null) as Answer;
}

/** A refusal in the server's words; a proxy's page in place of them is no answer. */
async function refusalOf(response: Response): Promise<Problem> {
  const { status, headers } = response;
  const told = ((await response.json().catch(() => null)) ?? {}) as { code?: string; detail?: string; field?: string; current?: unknown };
  const { code = 'unreachable', detail = `HTTP ${status}`, field = null, current = null } = told;
  const after = headers.get('retry-after');
  // Seconds, or a date.
  const wait = Number(after) * 1_000 || Date.parse(after!) - Date.now();
  return new Problem(code, detail, status, field, current, wait >= 0 ? wait : null);
}
