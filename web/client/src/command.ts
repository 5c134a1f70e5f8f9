/** Commands without a socket: the routes that do the same. */
import type { Api } from './api';
import { Problem } from './problem';
import { ANSWER_MS } from './within';

type Texts = Record<string, string | null | undefined>;

/** `shown` is the stream that `chat.view` is about, and what it showed; a poll has no stream, so nobody sees it looking. */
export async function byRoute(api: Api, name: string, args: Record<string, unknown>, shown?: { connection: string | null; session: unknown }): Promise<unknown> {
  const { tenant, session, ...rest } = args as Texts;
  const [, verb] = name.split('.');
  const path = (id: unknown, what: string | undefined) => `/v1/tenants/${encodeURIComponent(tenant ?? '')}/chat/sessions/${encodeURIComponent(String(id))}/${what}`;
  switch (name) {
    case 'chat.end':
    case 'chat.archive':
    case 'chat.assign':
    case 'chat.typing':
      return (await api.request('POST', path(session, verb), name === 'chat.typing' ? {} : { body: rest })) ?? {};
    case 'chat.send':
      return api.request('POST', path(session, 'messages'), { body: rest }, ANSWER_MS, async (response) => ({ message: await response.json(), created: response.status === 201 }));
    case 'chat.view':
      if (shown?.connection && (session || shown.session))
        await api.request(session ? 'PUT' : 'DELETE', path(session ?? shown.session, 'view'), { body: { connection: shown.connection } });
      return {};
  }
  throw new Problem('unknown_command', `there is no command ${name}`, 404);
}
