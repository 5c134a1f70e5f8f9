/**
 * The entry of every page: finds the server, asks who is signed in, makes the connection and puts the shell around the page. A page's main.tsx is
 * `start({ name: 'chat', Page: ChatPage })`, and the page reads what it needs with `useHere()`.
 */
import '../../client/style/index.css';
import './shell.css';
import { connect, type Connection } from '@tidings/client';
import { Fragment, useEffect, useMemo, useState, type ComponentType, type ReactNode } from 'react';
import { createRoot } from 'react-dom/client';
import { ConnectionIndicator } from '../../client/react/ConnectionIndicator';
import { TidingsProvider } from '../../client/react/TidingsProvider';
import { useStore } from '../../client/react/useStore';
import { texts } from '../texts';
import { Account } from './Account';
import { OfflineBanner } from './OfflineBanner';
import { watchOutages } from './outage';
import { serverOf, type Embedding } from './server';
import { openSession, type Session, type SessionStore } from './session';
import { Shell, type PageName } from './Shell';
import { SignIn } from './SignIn';
import { TenantChooser } from './TenantChooser';
import { toasts } from './toast';
import { Unreachable } from './Unreachable';
import { HereContext, type Here } from './useHere';

export interface PageStart {
  name: PageName;
  Page: ComponentType;
  /** Put around page and tools: what both of them use. */
  Around?: ComponentType<{ children: ReactNode }>;
  /** What the page adds to the head. */
  Tools?: ComponentType;
  /** The page looks at several tenants and has connections of its own: no tenant is chosen in the head, no connection shown there. */
  several?: boolean;
}

export function start({ name, Page, Around = Fragment, Tools, several = false }: PageStart): void {
  const server = serverOf();
  const { elsewhere, tenant: wanted, ...options } = server;
  // Asks only, and never subscribes: so it opens nothing, and needs no tenant.
  const asking = connect({ ...options, share: false });
  const spent = location.hash === '#sign-in=spent';
  if (spent) history.replaceState(null, '', location.pathname + location.search);
  const session = openSession((method, path) => asking.request(method, path), spent);
  void session.check();

  document.body.classList.add('t-root');
  const root = document.getElementById('root')!;
  createRoot(root).render(<Gate name={name} session={session} elsewhere={elsewhere}>{(who) => (
    <SignedIn key={`${who.sub} ${who.role} ${String(who.tenants)}`} {...{ name, Page, Around, Tools, several, session, who, asking, elsewhere, wanted, options }} />
  )}</Gate>);
}

/** The page itself opens for whoever is signed in. */
function Gate({ name, session, elsewhere, children }: { name: PageName; session: SessionStore; elsewhere: boolean; children: (who: Session) => ReactNode }) {
  const state = useStore(session);
  // What was told to one person is not left standing for the next one.
  useEffect(() => {
    if (state.is === 'signed-out') toasts.clear();
  }, [state.is]);
  if (state.is === 'signed-in') return children(state.session);
  return (
    <Shell page={name} links={[]}>
      {state.is === 'asking' && <p className="t-visually-hidden">{texts.shell.loading}</p>}
      {state.is === 'signed-out' && <SignIn state={state} check={session.check} embedded={elsewhere} />}
      {state.is === 'unreachable' && <Unreachable {...state} check={() => void session.check()} />}
    </Shell>
  );
}

interface SignedInProps extends Pick<PageStart, 'name' | 'Page'> {
  Around: ComponentType<{ children: ReactNode }>;
  Tools: ComponentType | undefined;
  several: boolean;
  session: SessionStore;
  who: Session;
  asking: Connection;
  elsewhere: boolean;
  wanted: string | undefined;
  options: Pick<Embedding, 'url' | 'getToken'>;
}

function SignedIn({ name, Page, Around, Tools, several, session, who, asking, elsewhere, wanted, options }: SignedInProps) {
  const tenants = useTenants(who, asking);
  const [chosen, setChosen] = useState(() => new URLSearchParams(location.search).get('tenant') ?? wanted ?? '');
  const tenant = chosen && (!who.tenants || who.tenants.includes(chosen)) ? chosen : tenants[0] ?? '';

  // Nothing opens before the first subscription, so a connection may be made while rendering; it is closed by the effect below.
  const link = useMemo(() => watchOutages(connect({ ...options, ...(tenant && { tenant }), clientName: `page ${name}` })), [tenant]);
  useEffect(() => {
    const unlisten = link.connection.onStatus(({ state, reason }) => {
      if (state === 'closed' && reason !== 'closed') void session.check();
    });
    return () => {
      unlisten();
      link.end();
      link.connection.close();
    };
  }, [link]);

  const here: Here = {
    session: who,
    connection: link.connection,
    tenant,
    tenants,
    chooseTenant(next) {
      const address = new URL(location.href);
      address.searchParams.set('tenant', next);
      history.replaceState(null, '', address);
      setChosen(next);
    },
    checkSession: () => void session.check(),
  };
  const links: PageName[] = elsewhere ? [] : ['index', 'notifications', ...(who.role === 'admin' ? ['chat' as const] : [])];
  const search = who.tenants?.length === 1 || !tenant ? '' : `?tenant=${encodeURIComponent(tenant)}`;
  const hasPlace = Boolean(tenant) || several;
  const shell = (
      <Shell
        page={name}
        links={links}
        search={several ? '' : search}
        banner={several ? null : <OfflineBanner outage={link.outage} reconnect={() => link.connection.reconnect()} />}
        tools={<>
          {hasPlace && Tools && <Tools />}
          {!several && <TenantChooser />}
          {!several && <ConnectionIndicator connection={link.connection} />}
          <Account session={who} signOut={elsewhere ? null : session.signOut} />
        </>}
      >
        {hasPlace ? <Page key={tenant} /> : <p className="t-empty">{texts.shell.chooseTenant}</p>}
      </Shell>
  );
  return (
    <HereContext.Provider value={here}>
      <TidingsProvider connection={link.connection}>{hasPlace ? <Around key={tenant}>{shell}</Around> : shell}</TidingsProvider>
    </HereContext.Provider>
  );
}

/** An admin of all tenants has no list: their names are learnt from the latest events, and can be typed. */
function useTenants(who: Session, asking: Connection): readonly string[] {
  const [heard, setHeard] = useState<readonly string[]>([]);
  useEffect(() => {
    if (who.tenants) return;
    let gone = false;
    const listen = async () => {
      const { events } = await asking.request<{ events: { tenant: string }[] }>('GET', '/v1/events?limit=1000');
      if (!gone) setHeard([...new Set(events.map((event) => event.tenant))].sort());
    };
    listen().catch(() => undefined);
    return () => { gone = true; };
  }, [who.tenants]);
  return who.tenants ?? heard;
}
