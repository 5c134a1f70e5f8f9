/** What the compiler knows of events: checked by `npm run check`, run by nobody. */
import { connect, type EventsOf, type TidingsEvent } from '../src/index';

type Shop = {
  'documents.inserted': { id: string; name: string };
  'documents.updated': { id: string; status: 'processing' | 'processed' };
  'chat.metrics': { waiting: number };
};
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <_Proof extends true>() => {};

same<Same<EventsOf<Shop, 'documents.*'>['type'], 'documents.inserted' | 'documents.updated'>>();
same<Same<EventsOf<Shop, '*.updated'>['type'], 'documents.updated'>>();
same<Same<EventsOf<Shop, '*'>['type'], keyof Shop>>();
same<Same<EventsOf<Shop, 'chat.metrics'>, TidingsEvent<'chat.metrics', { waiting: number }>>>();
same<Same<EventsOf<Shop, 'orders.*'>, never>>();

const typed = connect<Shop>();
typed.subscribe({ types: ['documents.*'] }, {
  event(event) {
    if (event.type === 'documents.updated') same<Same<typeof event.data.status, 'processing' | 'processed'>>();
    // @ts-expect-error the other type has no status
    else void event.data.status;
    // @ts-expect-error no glob of this subscription matches it
    if (event.type === 'chat.metrics') return;
  },
});
typed.subscribe({ types: ['documents.inserted', 'chat.metrics'] }, {
  event(event) {
    same<Same<typeof event.type, 'documents.inserted' | 'chat.metrics'>>();
  },
});

// Without a map every type may come, and the data are to be looked at before they are used.
connect().subscribe({}, {
  event(event) {
    same<Same<typeof event.type, string>>();
    // @ts-expect-error unknown
    void event.data.id;
  },
});
// @ts-expect-error a list
connect().subscribe({ types: 'documents.*' });
// @ts-expect-error no such transport
connect({ transport: 'webtransport' });
// @ts-expect-error read only
typed.status.state = 'closed';
