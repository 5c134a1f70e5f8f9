import { useEffect } from 'react';
import { Icon } from '../../client/react/icons';
import { useStore } from '../../client/react/useStore';
import type { Store } from '../../client/store/store';
import { texts } from '../texts';
import { announce } from './announcements';
import type { Outage } from './outage';

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

/** Says that what is shown may be old, since when, and what came after the return. Nothing while all is well. */
export function OfflineBanner({ outage, reconnect }: { outage: Store<Outage>; reconnect: () => void }) {
  const now = useStore(outage);
  const text = now && sentence(now);
  const back = now?.is === 'back' ? text : null;
  // That the connection is gone, the indicator in the head says already.
  useEffect(() => {
    if (back) announce(back);
  }, [back]);
  if (!now || !text) return null;
  const away = now.is === 'away';
  return (
    <section className="t-banner" aria-label={texts.shell.banner} data-tone={away ? 'warn' : 'good'}>
      <Icon name={away ? 'offline' : 'done'} />
      <span className="t-grow">{text}</span>
      {away && !now.offline && <button type="button" className="t-button" data-size="small" onClick={reconnect}>{texts.shell.tryNow}</button>}
    </section>
  );
}

function sentence(outage: NonNullable<Outage>): string {
  if (outage.is === 'back') return outage.reloaded ? texts.shell.reloaded : texts.shell.caughtUp(outage.caughtUp);
  if (outage.since === null) return outage.offline ? texts.shell.offlineFromTheBeginning : texts.shell.notLiveYet;
  return (outage.offline ? texts.shell.offlineSince : texts.shell.cutOffSince)(clock.format(outage.since));
}
