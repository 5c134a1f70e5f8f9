/** What the compiler knows of events in hooks and bindings. Checked by tsc; nothing here runs. */
import { queryBinding } from '../query';
import { TidingsProvider, useChat, useEvents, useLatest, useLocalStorage, useSSE, useStore } from '../react';
import type { Connection } from '../src/connection';
import type { RegisteredEvents } from '../src/registered';
import type { Store } from '../store/store';

interface AppEvents {
  'documents.inserted': { id: string; name: string };
  'documents.updated': { id: string; status: string };
  'invoices.paid': { sum: number };
}

type Equal<One, Other> = (<T>() => T extends One ? 1 : 2) extends <T>() => T extends Other ? 1 : 2 ? true : false;
const holds = <Claim extends true>(): Claim | undefined => undefined;

export function Types({ connection, store }: { connection: Connection; store: Store<{ count: number }> }) {
  useEvents<AppEvents, 'documents.*'>('documents.*', (event) => {
    holds<Equal<typeof event.type, 'documents.inserted' | 'documents.updated'>>();
    if (event.type === 'documents.inserted') holds<Equal<typeof event.data.name, string>>();
    // @ts-expect-error: of an invoice
    event.data.sum;
  });
  // Without a map, anything may come, and its data must be looked at.
  useEvents(['documents.*'], (event) => {
    holds<Equal<typeof event.type, string>>();
    holds<Equal<typeof event.data, unknown>>();
  });

  const { events } = useSSE<AppEvents>({ subscriptions: ['documents.*', 'a.type.that.is.new'] });
  for (const event of events) if (event.type === 'invoices.paid') holds<Equal<typeof event.data.sum, number>>();
  const paid = useLatest<AppEvents, 'invoices.paid'>('invoices.paid');
  holds<Equal<typeof paid extends null | { data: infer Data } ? Data : never, { sum: number }>>();

  holds<Equal<RegisteredEvents<{ events: AppEvents }>, AppEvents>>();
  holds<Equal<RegisteredEvents, Record<string, unknown>>>();

  queryBinding<AppEvents, 'invoices.paid'>({ types: 'invoices.paid', queryKey: ['invoices'], patch: (_old, { data }) => data.sum });

  const count = useStore(store, (state) => state.count);
  holds<Equal<typeof count, number>>();
  // @ts-expect-error: no such member
  useStore(store, (state) => state.other);

  const [sound, setSound] = useLocalStorage('sound', false as boolean);
  setSound((on) => !on);
  // @ts-expect-error: another type than the initial value
  setSound('on');

  const { sendMessage } = useChat();
  // @ts-expect-error: a message has text
  void sendMessage();
  return (
    <>
      <TidingsProvider connection={connection}>{String(sound)}</TidingsProvider>
      <TidingsProvider url="/" tenant="acme" getToken={() => null} />
      {/* @ts-expect-error: a connection has its own tenant */}
      <TidingsProvider connection={connection} tenant="acme" />
    </>
  );
}
