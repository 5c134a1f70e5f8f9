import { useEffect, useRef, useState, type RefObject } from 'react';
import { Icon } from '../../client/react/icons';
import { announce, toast, useHere } from '../shell';
import { texts } from '../texts';

const says = texts.index;
/** A ticket is worthless after this. */
const TICKET_MS = 30_000;

/** The road of an event, and the two lines that let one try it: in SQL, and in a terminal. */
export function Explanation({ tenant }: { tenant: string }) {
  const { connection } = useHere();
  const [ticket, setTicket] = useState<string | null>(null);
  const watch = useRef<HTMLPreElement>(null);
  const curl = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (!ticket) return;
    void copy(curl);
    const timer = setTimeout(() => setTicket(null), TICKET_MS);
    return () => clearTimeout(timer);
  }, [ticket]);
  const withTicket = async () => {
    try {
      setTicket((await connection.request<{ ticket: string }>('POST', '/v1/tickets', {})).ticket);
    } catch (problem) {
      toast({ tone: 'bad', text: says.noTicket(problem instanceof Error ? problem.message : String(problem)) });
    }
  };
  return (
    <section className="t-card how" aria-labelledby="how-title">
      <div className="t-card-head"><h2 id="how-title">{says.howItWorks}</h2></div>
      <div className="t-card-body t-stack">
        <ol className="road">{says.road.map(([what, how]) => <li key={what}><b>{what}</b>{how}</li>)}</ol>
        <div className="pair">
          <div className="t-stack">
            <h3>{says.makeLive}</h3>
            <p className="t-muted t-small">{says.makeLiveHow}</p>
            <pre className="t-code" ref={watch} tabIndex={0}>select tidings.watch('public.documents', tenant =&gt; 'tenant_id');</pre>
            <p><button type="button" className="t-button" onClick={() => void copy(watch)}><Icon name="copy" />{says.copy}</button></p>
          </div>
          <div className="t-stack">
            <h3>{says.fromTerminal}</h3>
            <p className="t-muted t-small">{says.fromTerminalHow}</p>
            <pre className="t-code" ref={curl} tabIndex={0}>{curlLine(connection.url || location.origin, tenant, ticket)}</pre>
            <p className="t-line">
              <button type="button" className="t-button" onClick={() => void copy(curl)}><Icon name="copy" />{says.copy}</button>
              <button type="button" className="t-button" onClick={withTicket}>{says.copyWithTicket}</button>
            </p>
          </div>
        </div>
      </div>
    </section>
  );
}

/** encodeURIComponent leaves the apostrophe, which would end the quoted word. */
const segment = (text: string) => encodeURIComponent(text).replaceAll("'", '%27');

export function curlLine(server: string, tenant: string, ticket: string | null): string {
  const address = `${server.replace(/\/$/, '')}/v1/tenants/${segment(tenant || 'acme')}/events`;
  return ticket
    ? `curl -N -H 'Accept: text/event-stream' \\\n  '${address}?ticket=${segment(ticket)}'`
    : `curl -N -H 'Accept: text/event-stream' \\\n  -H "Authorization: Bearer $TOKEN" \\\n  '${address}'`;
}

async function copy(from: RefObject<HTMLElement | null>) {
  if (!from.current) return;
  try {
    await navigator.clipboard.writeText(from.current.textContent ?? '');
    toast({ tone: 'good', text: says.copied });
  } catch {
    // Plain http on another machine has no clipboard: select it, so that one keystroke copies.
    getSelection()?.selectAllChildren(from.current);
    announce(says.selected);
  }
}
