import type { ReactElement } from 'react';
import type { Connection } from '../src/connection';
import { texts } from './texts';
import { useGivenConnection } from './useConnection';
import { useStatusText } from './useStatusText';

/** Told apart without colour. */
const shapes = { good: undefined, warn: 'ring', bad: 'square' } as const;

/**
 * A chip that says how the connection is, in words, and tries again when asked. Changes are read out politely, the seconds of a countdown are not. Styled by
 * `@tidings/client/style.css`.
 *
 * ```tsx
 * <header>… <ConnectionIndicator /></header>
 * ```
 */
export function ConnectionIndicator({ connection }: { connection?: Connection }): ReactElement {
  const used = useGivenConnection(connection);
  const { text, spoken, detail, tone, canReconnect } = useStatusText({ connection: used });
  return (
    <span className="t-connection t-line" data-state={used.status.state}>
      <span className="t-chip" data-tone={tone} title={detail ?? undefined}>
        <span className="t-dot" data-shape={shapes[tone]} aria-hidden="true" />
        {/* The words that are read out stand beside those that are seen, since the latter change each second. */}
        <span aria-hidden="true">{text}</span>
      </span>
      <span className="t-visually-hidden" role="status">
        {detail && tone !== 'good' ? `${spoken} ${detail}` : spoken}
      </span>
      {canReconnect && (
        <button type="button" className="t-button" data-kind="quiet" data-size="small" onClick={() => used.reconnect()}>
          {texts.connection.tryNow}
        </button>
      )}
    </span>
  );
}
