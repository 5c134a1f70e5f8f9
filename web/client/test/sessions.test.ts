/** The admins' list of chat sessions: what it shows is what the server would show, whatever comes in whichever order. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Problem } from '../src/problem';
import type { ChatSession, SessionStatus } from '../store/session';
import { chatSessions, type ChatNews, type Sessions } from '../store/sessions';
import { scripted, type Scripted } from './scripted';

const at = (second: number) => new Date(Date.UTC(2026, 10, 20, 12, 0, second)).toISOString().replace('Z', '000+00:00');

function session(number: number, status: SessionStatus = 'waiting', more: Partial<ChatSession> = {}): ChatSession {
  return {
    id: `s${number}`, user_id: 'ann', subject: `Question ${number}`, metadata: {}, status, assigned_to: null,
    created_at: at(number), updated_at: at(number), started_at: status === 'waiting' ? null : at(number), ended_at: null, last_message_at: null, ...more,
  };
}

function metrics(waiting = 0, active = 0, ended = 0, archived = 0) {
  return { sessions: { waiting, active, ended, archived }, waiting_time: { average_s: null, longest_s: null }, messages_per_minute: 0 };
}

/** A server that answers from rows as it has them now: pages of two. */
function server(connection: Scripted, rows: ChatSession[]): void {
  connection.answer('GET', '/v1/tenants/acme/chat/sessions', ({ query }: { query: URLSearchParams }) => {
    const status = query.get('status')?.split(',');
    const q = query.get('q');
    const before = query.get('before');
    const found = rows
      .filter((row) => (!status || status.includes(row.status)) && (!q || `${row.subject} ${row.user_id} Ann Archer`.toLowerCase().includes(q.toLowerCase())))
      .sort((a, b) => (a.created_at < b.created_at ? 1 : -1))
      .filter((row) => !before || row.created_at < before);
    const count = (of: SessionStatus) => rows.filter((row) => row.status === of).length;
    return {
      sessions: found.slice(0, 2), metrics: metrics(count('waiting'), count('active'), count('ended'), count('archived')),
      cursor: 'c1', next: found.length > 2 ? found[1]!.created_at : null,
    };
  });
  connection.answer('GET', '/v1/tenants/acme/chat/presence', { sessions: {} });
}

const ids = (sessions: Sessions) => sessions.get().sessions.map(({ id }) => id);
const counts = (sessions: Sessions) => Object.values(sessions.get().counts).map((count) => (count === null ? null : count.atLeast ? `${count.count}+` : count.count));
const emit = (connection: Scripted, what: 'inserted' | 'updated' | 'deleted', row: ChatSession, changed?: string) =>
  connection.emit(`chat_sessions.${what}`, row, { subject: row.id, ...(changed === undefined ? {} : { changed }) });
const settle = () => vi.advanceTimersByTimeAsync(0);

describe('chatSessions', () => {
  let connection: Scripted;
  let rows: ChatSession[];
  let sessions: Sessions;
  let stop: () => void;
  const start = async (view?: Parameters<typeof chatSessions>[1]) => {
    sessions = chatSessions(connection, { tenant: 'acme', sub: 'ada', limit: 2, ...view });
    stop = sessions.subscribe(() => {});
    await settle();
  };

  beforeEach(() => {
    vi.useFakeTimers();
    connection = scripted();
    rows = [session(1), session(2), session(3), session(4, 'active', { assigned_to: 'ben' }), session(5, 'ended')];
    server(connection, rows);
  });
  afterEach(() => {
    stop();
    vi.useRealTimers();
  });

  it('asks for nothing before somebody listens', async () => {
    chatSessions(connection, { tenant: 'acme' }).get();
    await settle();
    expect(connection.requests).toEqual([]);
    await start();
  });

  it('shows the newest first, counts all statuses, and follows from the cursor of the list', async () => {
    await start();
    expect(ids(sessions)).toEqual(['s3', 's2']);
    expect(counts(sessions)).toEqual([3, 1, 1, 0]);
    expect(connection.subscriptions[0]?.filter).toMatchObject({ tenant: 'acme', after: 'c1' });
    await sessions.loadMore();
    expect(ids(sessions)).toEqual(['s3', 's2', 's1']);
    expect(sessions.get().hasMore).toBe(false);
  });

  it('moves a session to where its status belongs, and the counts with it', async () => {
    await start();
    emit(connection, 'updated', { ...rows[1]!, status: 'active', assigned_to: 'ben' }, 'status,assigned_to');
    expect(ids(sessions)).toEqual(['s3']);
    expect(counts(sessions)).toEqual([2, 2, 1, 0]);
    emit(connection, 'inserted', session(9));
    expect(ids(sessions)).toEqual(['s9', 's3']);
    expect(counts(sessions)).toEqual([3, 2, 1, 0]);
    emit(connection, 'deleted', session(9));
    expect(ids(sessions)).toEqual(['s3']);
    expect(counts(sessions)).toEqual([2, 2, 1, 0]);
  });

  it('counts what changes beyond the pages that were fetched', async () => {
    await start();
    emit(connection, 'updated', { ...rows[0]!, status: 'active' }, 'status');
    emit(connection, 'updated', { ...rows[4]!, status: 'archived' }, 'status');
    expect(counts(sessions)).toEqual([2, 2, 0, 1]);
    expect(ids(sessions)).toEqual(['s3', 's2']);
  });

  it('does not show a row from behind the pages that were fetched, where rows between are not here', async () => {
    await start();
    emit(connection, 'updated', { ...rows[0]!, subject: 'Edited' }, 'subject');
    expect(ids(sessions)).toEqual(['s3', 's2']);
    await sessions.loadMore();
  });

  it('keeps what an event told while an older page was under way', async () => {
    await start();
    let answer!: (page: unknown) => void;
    connection.answer('GET', '/v1/tenants/acme/chat/sessions', () => new Promise((resolve) => (answer = resolve)));
    const more = sessions.loadMore();
    await settle();
    emit(connection, 'updated', { ...rows[0]!, status: 'ended' }, 'status');
    answer({ sessions: [rows[0]], metrics: null, cursor: 'c2', next: null });
    await more;
    expect(ids(sessions)).toEqual(['s3', 's2']);
    expect(sessions.session('s1')?.status).toBe('ended');
  });

  it('orders by when sessions began, whatever the time zone of whoever wrote them', async () => {
    await start();
    emit(connection, 'inserted', session(8, 'waiting', { created_at: '2026-11-20T13:00:03.000001+01:00' }));
    expect(ids(sessions)).toEqual(['s8', 's3', 's2']);
  });

  it('shows what is fetched once, and comes back to it without asking', async () => {
    await start();
    sessions.show({ status: 'active' });
    await settle();
    expect(ids(sessions)).toEqual(['s4']);
    const asked = connection.requests.length;
    sessions.show({ status: 'waiting' });
    await settle();
    expect(ids(sessions)).toEqual(['s3', 's2']);
    expect(connection.requests.length).toBe(asked);
  });

  it('searches all statuses at once, so that each tab says what it has of it', async () => {
    await start();
    sessions.show({ q: 'question 4' });
    await settle();
    expect(ids(sessions)).toEqual([]);
    expect(counts(sessions)).toEqual([0, 1, 0, 0]);
    emit(connection, 'inserted', session(44));
    expect(ids(sessions)).toEqual(['s44']);
    expect(counts(sessions)).toEqual([1, 1, 0, 0]);
  });

  it('says that there are more where the search has more pages', async () => {
    await start();
    sessions.show({ q: 'question' });
    await settle();
    expect(counts(sessions)).toEqual(['0+', '1+', '1+', '0+']);
  });

  it('looks again for a new session that only the server can find, by a name', async () => {
    await start();
    sessions.show({ q: 'archer' });
    await settle();
    rows.push(session(50));
    emit(connection, 'inserted', session(50));
    expect(ids(sessions)).not.toContain('s50');
    await vi.advanceTimersByTimeAsync(1000);
    expect(ids(sessions)).toContain('s50');
  });

  it('shows only those of one assignee, or of nobody', async () => {
    await start({ view: { status: 'active' } });
    sessions.show({ assignee: 'ada' });
    expect(ids(sessions)).toEqual([]);
    emit(connection, 'updated', { ...rows[3]!, assigned_to: 'ada' }, 'assigned_to');
    expect(ids(sessions)).toEqual(['s4']);
    sessions.show({ assignee: null });
    expect(ids(sessions)).toEqual([]);
  });

  it('shows a command before the server has answered, and takes it back where it fails', async () => {
    await start();
    let refuse!: (problem: Problem) => void;
    connection.answerCommand('chat.end', () => new Promise((_, reject) => (refuse = reject)));
    const ended = sessions.move('s3', 'end');
    expect(ids(sessions)).toEqual(['s2']);
    expect(counts(sessions)).toEqual([2, 1, 2, 0]);
    expect(sessions.get().moving).toContain('s3');
    await settle();
    refuse(new Problem('unreachable', 'no answer'));
    await expect(ended).rejects.toMatchObject({ code: 'unreachable' });
    expect(ids(sessions)).toEqual(['s3', 's2']);
    expect(counts(sessions)).toEqual([3, 1, 1, 0]);
    expect(sessions.get().moving.size).toBe(0);
  });

  it('looks what became of a command whose answer was lost, and repeats it only where it was not done', async () => {
    await start();
    connection.answerCommand('chat.end', () => Promise.reject(new Problem('unreachable', 'the connection ended')));
    connection.answer('GET', '/v1/tenants/acme/chat/sessions/s3', session(3, 'ended', { updated_at: at(30) }));
    await expect(sessions.move('s3', 'end')).resolves.toMatchObject({ status: 'ended' });
    expect(connection.commands.length).toBe(1);
    connection.answer('GET', '/v1/tenants/acme/chat/sessions/s2', rows[1]);
    await expect(sessions.move('s2', 'end')).rejects.toMatchObject({ code: 'unreachable' });
    expect(connection.commands.length).toBe(3);
    expect(ids(sessions)).toEqual(['s2']);
  });

  it('shows of a conflict the session as it is', async () => {
    await start();
    const current = session(3, 'active', { assigned_to: 'ben', updated_at: at(30) });
    connection.answerCommand('chat.assign', () => Promise.reject(new Problem('conflict', 'taken', 409, null, current)));
    await expect(sessions.move('s3', 'assign')).rejects.toMatchObject({ code: 'conflict', current });
    expect(sessions.session('s3')).toMatchObject({ status: 'active', assigned_to: 'ben' });
    expect(counts(sessions)).toEqual([2, 2, 1, 0]);
  });

  it('does not go back to the answer of a command when an event has told of something later', async () => {
    await start();
    let answer!: (session: ChatSession) => void;
    connection.answerCommand('chat.assign', () => new Promise((resolve) => (answer = resolve)));
    const assigned = sessions.move('s3', 'assign');
    await settle();
    emit(connection, 'updated', session(3, 'ended', { updated_at: at(40) }), 'status');
    answer(session(3, 'active', { assigned_to: 'ada', updated_at: at(30) }));
    await assigned;
    expect(sessions.session('s3')?.status).toBe('ended');
  });

  it('tells of a bulk command which were refused, and waits where there is no room for more', async () => {
    await start();
    let crowded = true;
    connection.answerCommand('chat.end', async ({ session: id }) => {
      if (id === 's2' && crowded) {
        crowded = false;
        throw new Problem('too_many_commands', 'wait', 429, null, null, 500);
      }
      if (id === 's1') throw new Problem('conflict', 'ended already', 409, null, session(1, 'ended', { updated_at: at(30) }));
      return session(Number(String(id).slice(1)), 'ended', { updated_at: at(30) });
    });
    const progress: number[] = [];
    const all = sessions.moveAll(['s1', 's2', 's3'], 'end', undefined, (done) => progress.push(done));
    await vi.advanceTimersByTimeAsync(1000);
    const { done, refused } = await all;
    expect([...done].sort()).toEqual(['s2', 's3']);
    expect(refused.map(({ id, problem }) => [id, problem.code])).toEqual([['s1', 'conflict']]);
    expect(progress).toEqual([1, 2, 3]);
    expect(ids(sessions)).toEqual([]);
  });

  it('fetches everything anew after a reset, and keeps what came since', async () => {
    await start();
    rows[2] = session(3, 'archived');
    connection.reset();
    emit(connection, 'inserted', session(60));
    await settle();
    expect(ids(sessions)).toEqual(['s60', 's2', 's1']);
    expect(connection.subscriptions.length).toBe(1);
  });

  it('asks again by itself where the server could not answer, and not where it refused', async () => {
    connection.answer('GET', '/v1/tenants/acme/chat/sessions', () => Promise.reject(new Problem('not_ready', 'starting', 503)));
    await start();
    expect(sessions.get()).toMatchObject({ isLoading: false, problem: { code: 'not_ready' } });
    server(connection, rows);
    await vi.advanceTimersByTimeAsync(1000);
    expect(ids(sessions)).toEqual(['s3', 's2']);
    stop();
    connection.answer('GET', '/v1/tenants/acme/chat/sessions', () => Promise.reject(new Problem('forbidden', 'no', 403)));
    await start();
    const asked = connection.requests.length;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(connection.requests.length).toBe(asked);
    expect(sessions.get().problem?.code).toBe('forbidden');
  });

  it('shows who types until they have sent it, or have been silent for a while', async () => {
    await start();
    const typing = () => connection.emit('chat.typing', { sub: 'ann', role: 'user', session_id: 's3' }, { subject: 's3' });
    typing();
    expect(sessions.get().typing.get('s3')).toBe('ann');
    connection.emit('chat_messages.inserted', { id: 'm1', role: 'user' }, { subject: 's3' });
    expect(sessions.get().typing.has('s3')).toBe(false);
    typing();
    await vi.advanceTimersByTimeAsync(5000);
    expect(sessions.get().typing.has('s3')).toBe(false);
  });

  it('knows who looks at what, from the beginning and after an absence', async () => {
    connection.answer('GET', '/v1/tenants/acme/chat/presence', { sessions: { s3: [{ sub: 'ben', since: at(1) }] } });
    await start();
    await settle();
    expect(sessions.get().viewers.get('s3')).toEqual(['ben']);
    connection.emit('chat.presence', { session_id: 's3', viewers: [] }, { subject: 's3' });
    expect(sessions.get().viewers.has('s3')).toBe(false);
    connection.answer('GET', '/v1/tenants/acme/chat/presence', { sessions: { s2: [{ sub: 'ben', since: at(1) }] } });
    connection.ready({ again: true });
    await settle();
    expect([...sessions.get().viewers]).toEqual([['s2', ['ben']]]);
  });

  it('tells of sessions that wait and of what users say, and of nothing else', async () => {
    await start();
    const heard: ChatNews[] = [];
    sessions.onNews((news) => heard.push(news));
    emit(connection, 'inserted', session(70));
    emit(connection, 'updated', session(70, 'active'), 'status');
    connection.emit('chat_messages.inserted', { id: 'm1', role: 'user' }, { subject: 's70' });
    connection.emit('chat_messages.inserted', { id: 'm2', role: 'assistant' }, { subject: 's70' });
    expect(heard).toEqual([{ kind: 'waiting', session: 's70' }, { kind: 'message', session: 's70' }]);
  });

  it('does not show what belongs to another tenant', async () => {
    await start();
    connection.subscriptions[0]?.handlers.event?.({
      specversion: '1.0', id: 'x', source: '/', type: 'chat_sessions.inserted', time: at(1), tenant: 'globex', subject: 's80', data: session(80),
    });
    expect(ids(sessions)).toEqual(['s3', 's2']);
  });
});
