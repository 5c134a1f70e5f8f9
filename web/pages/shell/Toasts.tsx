import { useEffect, useRef } from 'react';
import { Icon, type IconName } from '../../client/react/icons';
import { useStore } from '../../client/react/useStore';
import { texts } from '../texts';
import { toasts } from './toast';

const icons: Record<string, IconName> = { good: 'done', info: 'info', warn: 'alert', bad: 'cross' };

/** The region of the toasts. Alt+T brings the focus here, and Escape takes it back; it is not in the way of Tab otherwise. */
export function Toasts() {
  const shown = useStore(toasts);
  const region = useRef<HTMLElement>(null);
  const before = useRef<HTMLElement | null>(null);

  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (!event.altKey || event.ctrlKey || event.metaKey || event.code !== 'KeyT' || !region.current?.childElementCount) return;
      event.preventDefault();
      before.current = document.activeElement as HTMLElement | null;
      (region.current.querySelector<HTMLElement>('button') ?? region.current).focus();
    };
    document.addEventListener('keydown', pressed);
    return () => document.removeEventListener('keydown', pressed);
  }, []);

  const goBack = () => before.current?.focus();
  return (
    <section
      ref={region}
      className="t-toasts"
      aria-label={texts.shell.toasts}
      tabIndex={-1}
      onMouseEnter={toasts.pause}
      onMouseLeave={toasts.resume}
      onFocusCapture={toasts.pause}
      onBlurCapture={toasts.resume}
      onKeyDown={(event) => event.key === 'Escape' && goBack()}
    >
      {shown.map(({ id, text, tone, action }) => (
        <div key={id} className="t-toast" data-tone={tone}>
          <Icon name={icons[tone ?? 'info'] ?? 'info'} />
          <p>{text}</p>
          {action && (
            <button type="button" className="t-button" data-size="small" onClick={() => { action.run(); toasts.close(id); goBack(); }}>{action.text}</button>
          )}
          <button type="button" className="t-icon-button" data-size="small" aria-label={texts.shell.close} onClick={() => { toasts.close(id); goBack(); }}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </section>
  );
}
