import { belongs, compare, type Notification, type Tab } from '../store/notification';
import { Problem } from '../src/problem';
import { scripted, type Scripted } from './scripted';

/**
 * A notification centre for one user behind a scripted connection: it answers as the server does, from one state, and tells of changes by
 * events, at once or when the test lets them through.
 */
export interface Centre {
  connection: Scripted;
  rows: Map<string, Notification>;
  insert(more?: Partial<Notification>): Notification;
  remove(id: string): void;
  /** By another window of the same user. */
  mark(id: string, marks: Partial<Pick<Notification, 'read' | 'archived'>>): Notification;
  readAll(): void;
  count(name: Tab | 'unseen'): number;
  /** Events wait until `flush`. */
  late: boolean;
  flush(count?: number): void;
  /** Answers wait until `answer`. */
  slow: boolean;
  answer(): Promise<void>;
}

export function centre(present = 0): Centre {
  const connection = scripted({ tenant: 'acme' });
  const rows = new Map<string, Notification>();
  const waiting: (() => void)[] = [];
  let answers: (() => void)[] = [];
  let made = 0;

  const emit = (type: string, data: unknown, subject?: string) => {
    const send = () => void connection.emit(type, data, subject === undefined ? {} : { subject });
    // Events keep their order: behind one that waits the others wait.
    if (self.late || waiting.length) waiting.push(send);
    else send();
  };
  /** The answer is of the moment of the request; it may arrive later. */
  const answered = async <Answer>(answer: Answer): Promise<Answer> => {
    if (self.slow) await new Promise<void>((resolve) => answers.push(resolve));
    return answer;
  };
  const sorted = () => [...rows.values()].sort(compare);
  const counts = () => Object.fromEntries(Object.keys(belongs).map((name) => [name, self.count(name as Tab)]));

  const self: Centre = {
    connection,
    rows,
    late: false,
    slow: false,
    insert(more = {}) {
      const at = String(++made).padStart(6, '0');
      const row: Notification = { id: `n${at}`, type: 'notice', title: `Title ${made}`, message: 'Text', metadata: {}, created_at: `2026-11-20T14:57:31.${at}+00:00`, created_by: null, seen: false, read: false, archived: false, ...more };
      rows.set(row.id, row);
      const { seen: _seen, read: _read, archived: _archived, ...columns } = row;
      emit('notifications.inserted', { ...columns, tenant_id: 'acme' }, row.id);
      return row;
    },
    remove(id) {
      rows.delete(id);
      emit('notifications.deleted', { id }, id);
    },
    mark(id, marks) {
      const was = rows.get(id);
      if (!was) throw new Problem('not_found', 'there is no such notification', 404);
      let { read, archived } = { ...was, ...marks };
      if (marks.read === false) archived = false;
      if (archived) read = true;
      const row = { ...was, seen: true, read, archived };
      rows.set(id, row);
      if (read !== was.read || archived !== was.archived) emit('notifications.read', { id, read, archived }, id);
      return row;
    },
    readAll() {
      for (const [id, row] of rows) rows.set(id, { ...row, seen: true, read: true });
      emit('notifications.read', { id: null, read: true, archived: null });
    },
    count: (name) => [...rows.values()].filter(belongs[name]).length,
    flush(count = waiting.length) {
      for (const send of waiting.splice(0, count)) send();
    },
    async answer() {
      for (const go of answers.splice(0)) go();
      for (let i = 0; i < 10; i++) await Promise.resolve();
    },
  };

  const path = '/v1/tenants/acme/notifications';
  connection.answer('GET', path, ({ query }: { query: URLSearchParams }) => {
    const limit = Number(query.get('limit'));
    const wanted: Tab = query.get('archived') === 'only' ? 'archived' : query.get('unread') ? 'unread' : query.get('types') ? 'documents' : 'all';
    const found = sorted().filter(belongs[wanted]);
    const before = query.get('before');
    const from = before === null ? 0 : found.findIndex((row) => compare(row, rows.get(before) ?? row) > 0);
    const page = from < 0 ? [] : found.slice(from, from + limit);
    const next = from >= 0 && from + limit < found.length ? page.at(-1)!.id : null;
    return answered({ notifications: page, next, cursor: 'c', unread_count: self.count('unread') });
  });
  connection.answer('GET', `${path}/counts`, () => answered({ counts: counts(), cursor: 'c' }));
  connection.answer('POST', `${path}/seen`, () => {
    for (const [id, row] of rows) rows.set(id, { ...row, seen: true });
    emit('notifications.seen', { id: null, seen: true });
    return answered({ seen: 1, counts: counts(), cursor: 'c' });
  });
  connection.answer('POST', `${path}/read-all`, () => {
    self.readAll();
    return answered({ read: 1, unread_count: 0, cursor: 'c' });
  });
  connection.answer('PATCH', `${path}/*`, ({ path: asked, body }: { path: string; body: object }) => answered(self.mark(asked.slice(path.length + 1), body)));
  for (let i = 0; i < present; i++) self.insert();
  return self;
}
