/**
 * A tab's way to its events through the tab that leads. It ends when another one takes over, upon which each subscription goes on from its
 * own cursor by a new one: so nothing is lost, and nothing repeated, whoever leads.
 */
import type { Status } from './connection';
import type { Place, Refusal, Said, Told } from './leader';
import type { Ears, Link, Wire } from './link';
import { asProblem, Problem } from './problem';
import { Questions } from './questions';

/** The tab, to its lines. */
export interface Group extends Place {
  /** Where this user's tabs meet. From then on this tab is one of those that may lead. */
  enter(): Promise<string>;
  /** How the leader's connection is. */
  mirror(line: SharedLink, status: Status): void;
  /** So many pings were not answered. */
  silence(pings: number): void;
  /** Another one leads, or leads anew: go on at once. */
  moved(): void;
  ended(line: SharedLink): void;
}

export interface SharedLink extends Link {
  reconnect(): void;
  /** Ends, with word to its ears. */
  end(why: Problem): void;
}

/** Sent so often, while this tab is awake: a frozen one has no right to judge. */
const PING_MS = 4_000;
/** A line is judged by its pings; this is for a tab that slept. */
const HEARTBEAT_MS = 60_000;

export function line(group: Group, wire: Wire, after: string | null, ears: Ears): SharedLink {
  const id = crypto.randomUUID();
  let channel: BroadcastChannel | null = null;
  let leader: string | null = null;
  let over = false;
  let pings = 0;
  let timer: ReturnType<typeof setInterval> | undefined;
  /** Frees the lock by which the leader knows that this tab lives. */
  let free = () => {};
  const questions = new Questions();

  const say = (said: Omit<Said, 'line'>) => channel?.postMessage({ line: id, ...said } satisfies Said);
  const join = () => say({ wire, after });

  function close() {
    if (over) return;
    over = true;
    clearInterval(timer);
    say({ word: 'leave' });
    channel?.close();
    free();
    group.ended(link);
    questions.end();
  }

  function end(why: Problem) {
    if (over) return;
    close();
    ears.ended(why);
  }

  function moved() {
    end(new Problem('unreachable', 'another tab leads'));
    group.moved();
  }

  function hear(told: Told) {
    if (over || typeof told?.leader !== 'string') return;
    const { to, status, opened, event, reset, refused, answer } = told;
    if (to ? !to.includes(id) : told.leader !== leader) {
      if (to || status) return;
      // A leader's first word.
      return leader === null ? join() : moved();
    }
    leader ??= told.leader;
    // One that was taken over, and does not know yet.
    if (told.leader !== leader) return;
    pings = 0;
    ears.alive();
    if (status) group.mirror(link, status);
    else if (opened) ears.opened({ ...opened, heartbeatMs: HEARTBEAT_MS });
    else if (event) ears.event(event);
    else if (told.moved) ears.moved(told.moved);
    else if (reset) ears.reset(reset.reason, reset.cursor);
    else if (refused) end(problemOf(refused));
    else if (told.again) moved();
    else if (answer) questions.answer(answer.id, answer.data, answer.refused && problemOf(answer.refused));
  }

  async function open() {
    const key = await group.enter();
    if (over) return;
    await new Promise<void>((held) => {
      void group.locks.request(`${key} ${id}`, () => {
        held();
        return over ? undefined : new Promise<void>((resolve) => (free = resolve));
      });
    });
    if (over) return;
    channel = new group.Channel(key);
    channel.onmessage = ({ data }: MessageEvent<Told>) => hear(data);
    join();
    timer = setInterval(() => {
      group.silence(++pings);
      if (leader) say({ word: 'ping' });
      else join();
    }, PING_MS);
  }

  const link: SharedLink = {
    transport: 'websocket',
    close,
    end,
    ping: () => say({ word: 'ping' }),
    reconnect: () => say({ word: 'reconnect' }),
    // The leader has its own, and this tab's is not said aloud.
    renew: () => {},
    command: (name, args) => questions.ask((id) => say({ command: { id, name, args } })),
  };
  open().catch((error: unknown) => end(asProblem(error)));
  return link;
}

const problemOf = ({ code, detail, status, field, current }: Refusal) => new Problem(code, detail, status, field, current);
