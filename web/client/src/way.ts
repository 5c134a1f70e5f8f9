/** How links are made, each by a part of the package of its own: what a page begins with is small, and the rest comes while it asks who it is. */
import type { TransportName } from './connection';
import type { MakeLink } from './link';
import type { Road } from './road';
import { ANSWER_MS, within } from './within';

/** A file that does not come, as after a deployment or without a network, is an answer that does not come: it is asked for again. */
export const straight = () => within(ANSWER_MS, import('./websocket'));
export const detour = () => within(ANSWER_MS, import('./detour'));

export async function wayOf(transport: TransportName, { api, Socket, transports }: Road): Promise<MakeLink> {
  try {
    if (transport === 'websocket') {
      const { websocket } = await straight();
      return (wire, after, ears) => websocket(api, Socket!, wire, after, ears);
    }
    const way = (await detour())[transport];
    return (wire, after, ears) => way(api, wire, after, ears);
  } catch (error) {
    // There is none, so all of them are tried again.
    transports.forget();
    throw error;
  }
}
