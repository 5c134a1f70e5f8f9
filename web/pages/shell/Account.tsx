import { useState } from 'react';
import { Icon } from '../../client/react/icons';
import { texts } from '../texts';
import type { Session } from './session';
import { toast } from './toast';

/** Who is signed in, until when, and the way out. The popover is the browser's: Escape and a press elsewhere close it. */
export function Account({ session, signOut }: { session: Session; signOut: (() => Promise<void>) | null }) {
  const [leaving, setLeaving] = useState(false);
  const ends = new Date(session.expires_at * 1_000);
  const leave = async () => {
    setLeaving(true);
    try {
      await signOut?.();
    } catch (problem) {
      toast({ tone: 'bad', text: texts.shell.notSignedOut(problem instanceof Error ? problem.message : String(problem)) });
    } finally {
      setLeaving(false);
    }
  };
  return (
    <>
      <button type="button" className="t-icon-button account-button" aria-label={texts.shell.account(session.sub)} title={session.sub} popoverTarget="account">
        <span className="t-avatar" data-size="small" data-initials={session.sub.slice(0, 2)} />
      </button>
      <div id="account" popover="auto" className="t-popover account" role="group" aria-label={texts.shell.signedIn}>
        <dl className="account-facts">
          <dt>{texts.shell.signedInAs}</dt><dd>{session.sub}</dd>
          <dt>{texts.shell.role}</dt><dd>{texts.shell.roles[session.role]}</dd>
          <dt>{texts.shell.sees}</dt><dd>{session.tenants ? session.tenants.join(', ') : texts.shell.allTenants}</dd>
          <dt>{texts.shell.until}</dt><dd><time dateTime={ends.toISOString()}>{ends.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' })}</time></dd>
        </dl>
        {signOut && (
          <div className="t-menu">
            <button type="button" disabled={leaving} onClick={leave}><Icon name="signOut" />{texts.shell.signOut}</button>
          </div>
        )}
      </div>
    </>
  );
}
