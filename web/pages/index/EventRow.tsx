import { memo, useState } from 'react';
import { texts } from '../texts';
import type { Row } from './column';
import { inMs } from './latency';
import { statementOf, watchOf } from './sql';

const says = texts.index;
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23' });
/** Of one event's bytes: more would freeze the page. */
const CHARS_MAX = 20_000;
const cut = (text: string) => (text.length > CHARS_MAX ? `${text.slice(0, CHARS_MAX)}\n${says.moreCharacters(text.length - CHARS_MAX)}` : text);

/** One event; unfolded, the bytes that brought it and the SQL behind it. What rows hold reaches the document as text only. */
export const EventRow = memo(function EventRow({ row: { event, bytes, transport, ms, late, yours }, toggled }: { row: Row; toggled: () => void }) {
  const [open, setOpen] = useState(false);
  const time = new Date(event.time);
  const changed = event.changed?.replaceAll(',', ', ') ?? '';
  return (
    <li className="event" data-yours={yours || undefined} data-late={late || undefined}>
      <details onToggle={({ currentTarget }) => { setOpen(currentTarget.open); toggled(); }}>
        <summary>
          <span className="what">
            <span className="badge t-truncate" title={event.type} data-op={event.type.slice(event.type.lastIndexOf('.') + 1)}>{event.type}</span>
            <span className="t-truncate" title={event.subject}>{event.subject ?? ''}</span>
          </span>
          <span className="cost">{late ? says.caughtUp : ms === null ? '' : inMs(ms)}</span>
          <span className="more">
            {yours && <span className="mark">{says.yours}</span>}
            {event.id === undefined && <span className="mark">{says.liveOnly}</span>}
            <span className="t-truncate" title={changed}>{changed}</span>
          </span>
          {!Number.isNaN(+time) && <time className="when" dateTime={time.toISOString()}>{clock.format(time)}</time>}
        </summary>
        {open && (
          <div className="raw">
            <Part title={bytes ? says.bytes[bytes.kind] : says.noBytes} text={bytes?.text ?? JSON.stringify(event)} />
            <Part title={says.statement} text={statementOf(event)} />
            {watchOf(event) && <Part title={says.watchLine} text={watchOf(event)!} />}
            <Part title={says.data} text={JSON.stringify(event.data ?? null, null, 2)} />
            <p className="t-muted t-small">{says.cameOver(says.transports[transport], event.id !== undefined)}</p>
          </div>
        )}
      </details>
    </li>
  );
});

function Part({ title, text }: { title: string; text: string }) {
  return <><h3>{title}</h3><pre className="t-code" tabIndex={0}>{cut(text)}</pre></>;
}
