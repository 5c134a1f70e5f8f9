import { useStore } from '../../client/react/useStore';
import { announcements } from './announcements';

/** Stands in the page before anything is said: screen readers only hear changes of what they have seen. */
export function Announcer() {
  return (
    <div className="t-visually-hidden" role="status" aria-live="polite" aria-relevant="additions text" aria-atomic="false">
      {useStore(announcements).map(({ id, text }) => <p key={id}>{text}</p>)}
    </div>
  );
}
