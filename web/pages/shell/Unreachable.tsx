import { useEffect, useState } from 'react';
import { Icon } from '../../client/react/icons';
import { texts } from '../texts';

/** The server did not answer; it is asked again by itself, and says when. */
export function Unreachable({ detail, retryAt, check }: { detail: string | null; retryAt: number; check: () => void }) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, []);
  return (
    <section className="t-card gate" aria-labelledby="gate-title">
      <div className="t-stack">
        <h1 id="gate-title">{texts.shell.unreachable}</h1>
        <p className="t-muted">{navigator.onLine ? texts.shell.unreachableWhy(location.host, detail) : texts.shell.unreachableOffline}</p>
        <p className="t-line">
          <button type="button" className="t-button" data-kind="primary" onClick={check}><Icon name="retry" />{texts.shell.tryNow}</button>
          <span className="t-muted t-small t-number">{texts.shell.asksAgain(Math.max(0, Math.ceil((retryAt - now) / 1_000)))}</span>
        </p>
      </div>
    </section>
  );
}
