/**
 * Web Locks for tests, where Node has none, and a browser of several tabs in one process: as the standard has it for exclusive locks,
 * with `signal` and `steal`. A tab can crash, which frees its locks and says nothing, and freeze, which frees nothing.
 */
interface Request {
  tab: object;
  turn: () => unknown;
  resolve(value: unknown): void;
  reject(reason: unknown): void;
}

class Locks {
  private readonly held = new Map<string, Request>();
  private readonly queued = new Map<string, Request[]>();

  request(tab: object, name: string, options: LockOptions, turn: () => unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const request = { tab, turn, resolve, reject };
      const queue = this.queued.get(name) ?? [];
      this.queued.set(name, queue);
      const aborted = () => reject(new DOMException('The request was aborted.', 'AbortError'));
      if (options.signal?.aborted) return aborted();
      if (options.steal) {
        this.held.get(name)?.reject(new DOMException('The lock was stolen.', 'AbortError'));
        this.held.delete(name);
        queue.unshift(request);
      } else queue.push(request);
      options.signal?.addEventListener('abort', () => {
        const at = queue.indexOf(request);
        if (at < 0) return;
        queue.splice(at, 1);
        aborted();
      });
      queueMicrotask(() => this.grant(name));
    });
  }

  /** Frees what a tab holds and waits for. None of its promises settles any more. */
  drop(tab: object): void {
    for (const queue of this.queued.values()) queue.splice(0, queue.length, ...queue.filter((request) => request.tab !== tab));
    for (const [name, request] of this.held)
      if (request.tab === tab) {
        this.held.delete(name);
        this.grant(name);
      }
  }

  private grant(name: string): void {
    const request = this.held.has(name) ? undefined : this.queued.get(name)?.shift();
    if (!request) return;
    this.held.set(name, request);
    const free = (settle: () => void) => {
      if (this.held.get(name) !== request) return;
      this.held.delete(name);
      settle();
      this.grant(name);
    };
    Promise.resolve(request.turn()).then(
      (value) => free(() => request.resolve(value)),
      (reason) => free(() => request.reject(reason)),
    );
  }
}

/** A browser: its tabs have their locks and channels in common. */
export class Browser {
  private readonly locks = new Locks();
  private readonly channels = new Set<Channel>();
  /** All that was said between tabs. */
  readonly said: unknown[] = [];

  tab(): Tab {
    return new Tab(this.locks, this.channels, this.said);
  }
}

export class Tab {
  readonly locks: Pick<LockManager, 'request'>;
  readonly Channel: new (name: string) => BroadcastChannel;
  readonly page = new EventTarget();
  private state: 'awake' | 'frozen' | 'gone' = 'awake';
  /** What waits for a frozen tab to wake. */
  private late: (() => void)[] = [];

  constructor(
    private readonly all: Locks,
    channels: Set<Channel>,
    said: unknown[],
  ) {
    const tab = this;
    this.locks = {
      request: (name: string, ...rest: unknown[]) => {
        const turn = rest.pop() as () => unknown;
        const given = new Promise<void>((resolve) => this.run(resolve));
        const asked = given.then(() => all.request(this, name, (rest[0] as LockOptions) ?? {}, () => new Promise<never>((resolve) => this.run(() => resolve(turn() as never)))));
        return new Promise<unknown>((resolve, reject) => asked.then((value) => this.run(() => resolve(value)), (error) => this.run(() => reject(error))));
      },
    } as Pick<LockManager, 'request'>;
    this.Channel = class extends Channel {
      constructor(name: string) {
        super(name, tab, channels, said);
      }
    } as unknown as new (name: string) => BroadcastChannel;
  }

  /** Its process was killed: nothing of it runs any more, and what it held is free. */
  crash(): void {
    this.state = 'gone';
    this.late = [];
    this.all.drop(this);
  }

  /** It keeps its locks, and does nothing. */
  freeze(): void {
    this.state = 'frozen';
  }

  /** What came meanwhile is done now. */
  wake(): void {
    this.state = 'awake';
    for (const task of this.late.splice(0)) task();
  }

  run(task: () => void): void {
    if (this.state === 'awake') task();
    else if (this.state === 'frozen') this.late.push(task);
  }
}

/** Node's own would do, could its messages be kept from a tab that is frozen or gone. */
class Channel {
  onmessage: ((event: MessageEvent) => void) | null = null;
  private open = true;

  constructor(
    private readonly name: string,
    private readonly tab: Tab,
    private readonly channels: Set<Channel>,
    private readonly said: unknown[],
  ) {
    channels.add(this);
  }

  postMessage(data: unknown): void {
    if (!this.open) throw new DOMException('The channel is closed.', 'InvalidStateError');
    const copy = structuredClone(data);
    this.tab.run(() => {
      this.said.push([this.name, copy]);
      for (const other of this.channels) {
        if (other === this || other.name !== this.name) continue;
        setImmediate(() => other.tab.run(() => other.open && other.onmessage?.({ data: structuredClone(copy) } as MessageEvent)));
      }
    });
  }

  close(): void {
    this.open = false;
    this.channels.delete(this);
  }
}
