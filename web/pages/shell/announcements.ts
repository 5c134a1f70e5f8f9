/** What is said to screen readers without moving the focus. Each sentence is a node of its own, so that the same one twice is said twice. */
import { cell } from '../../client/store/store';

export interface Announcement {
  id: number;
  text: string;
}

const KEPT_MS = 5_000;
const said = cell<readonly Announcement[]>([]);
let ids = 0;

export const announcements = said;

/** Politely, after what is being read. A short sentence: it cannot be read again. */
export function announce(text: string): void {
  const id = ++ids;
  said.set([...said.get(), { id, text }]);
  setTimeout(() => said.set(said.get().filter((other) => other.id !== id)), KEPT_MS);
}
