import { useEffect, useState } from 'react';
import { Problem } from '@tidings/client';
import { Icon } from '../../client/react/icons';
import { toast, useHere } from '../shell';
import { texts } from '../texts';
import { figuresOf, type Stats } from './stats';

const says = texts.index;
const EVERY_MS = 2_000;

/** What the server knows of its connections, for admins; one can be ended, to see how its client comes back. */
export function Connections() {
  const { connection } = useHere();
  const [stats, setStats] = useState<Stats | null>(null);
  const [failed, setFailed] = useState<string | null>(null);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>;
    let gone = false;
    const look = async () => {
      try {
        if (!document.hidden && navigator.onLine) setStats(await connection.request<Stats>('GET', '/v1/stats'));
        setFailed(null);
      } catch (problem) {
        setFailed(problem instanceof Problem ? problem.detail : String(problem));
      }
      if (!gone) timer = setTimeout(look, EVERY_MS);
    };
    void look();
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [connection]);
  const end = async (id: string) => {
    try {
      await connection.request('DELETE', `/v1/connections/${encodeURIComponent(id)}`);
      toast({ tone: 'good', text: says.ended });
    } catch (problem) {
      toast({ tone: 'bad', text: problem instanceof Problem ? problem.detail : String(problem) });
    }
  };
  const rows = stats?.connections ?? [];
  return (
    <section className="t-card connections" aria-labelledby="connections-title">
      <div className="t-card-head">
        <h2 id="connections-title" className="t-grow">{says.server}</h2>
        {failed && <span className="t-chip" data-tone="warn"><Icon name="alert" />{failed}</span>}
      </div>
      <dl className="t-tiles plain">
        {figuresOf(stats).map(([name, value]) => <div className="t-tile" key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
      </dl>
      <div className="table" tabIndex={0} role="region" aria-label={says.connectionsTable}>
        <table>
          <thead><tr><th>{says.connection}</th><th>{says.of}</th><th>{says.tenants}</th><th>{says.transport}</th><th>{says.client}</th><th>{says.age}</th><th><span className="t-visually-hidden">{says.end}</span></th></tr></thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.connection}>
                <td className="t-mono">{row.connection}</td>
                <td>{row.sub}</td>
                <td>{row.tenants?.join(', ') ?? says.allTenants}</td>
                <td>{row.transport}</td>
                <td>{row.client ?? ''}</td>
                <td className="t-number">{row.age_s === undefined ? '' : says.seconds(row.age_s)}</td>
                <td><button type="button" className="t-button" data-size="small" aria-label={says.endConnection(row.connection)} onClick={() => void end(row.connection)}>{says.end}</button></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
