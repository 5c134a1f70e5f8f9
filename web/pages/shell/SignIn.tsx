import { useState } from 'react';
import { Icon } from '../../client/react/icons';
import { texts } from '../texts';
import type { SessionState } from './session';

const says = texts.signIn;

/** Nobody is signed in: what that takes, and the ways to it. */
export function SignIn({ state, check, embedded }: { state: Extract<SessionState, { is: 'signed-out' }>; check: () => Promise<void>; embedded: boolean }) {
  const [busy, setBusy] = useState(false);
  const elsewhere = state.signIn && state.signIn.replaceAll('{page}', encodeURIComponent(location.href));
  const again = async () => {
    setBusy(true);
    await check();
    setBusy(false);
  };
  return (
    <section className="t-card gate" aria-labelledby="gate-title">
      <div className="t-stack">
        <h1 id="gate-title">{says.titles[state.why]}</h1>
        <p className="t-muted">{embedded ? says.embedded : says.reasons[state.why]}</p>
        <p className="t-line">
          {elsewhere && <a className="t-button" data-kind="primary" href={elsewhere}>{says.signIn}</a>}
          <button type="button" className="t-button" disabled={busy} onClick={again}><Icon name={busy ? 'spinner' : 'retry'} />{says.checkAgain}</button>
        </p>
      </div>
      {!embedded && <ul className="ways" role="list">
        <li className="t-stack">
          <h2>{says.demoTitle}</h2>
          <p className="t-muted">{says.demo}</p>
          <pre className="t-code">tidings demo</pre>
        </li>
        <li className="t-stack">
          <h2>{says.ticketTitle}</h2>
          <p className="t-muted">{says.ticket}</p>
          <form className="t-line" method="get" action={location.pathname}>
            <input className="t-input t-grow" name="ticket" aria-label={says.ticketField} placeholder={says.ticketField} required autoComplete="off" spellCheck={false} />
            <button className="t-button" data-kind={elsewhere ? undefined : 'primary'}>{says.open}</button>
          </form>
        </li>
        <li className="t-stack">
          <h2>{says.applicationTitle}</h2>
          <p className="t-muted">{says.application}</p>
        </li>
      </ul>}
    </section>
  );
}
