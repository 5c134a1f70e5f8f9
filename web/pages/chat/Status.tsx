import type { SessionStatus } from '../../client/store/session';
import { texts } from '../texts';

const looks = {
  waiting: { tone: 'warn', shape: 'full' },
  active: { tone: 'good', shape: 'full' },
  ended: { tone: 'info', shape: 'ring' },
  archived: { tone: undefined, shape: 'square' },
} as const;

/** In which state a chat is: by a word, a shape and a colour. */
export function Status({ status }: { status: SessionStatus }) {
  const { tone, shape } = looks[status];
  return <span className="t-chip" {...(tone ? { 'data-tone': tone } : {})}><span className="t-dot" data-shape={shape} />{texts.chat.statuses[status]}</span>;
}
