/** What was asked on a connection, until it is answered or the connection ends. */
import { Problem } from './problem';

export class Questions {
  #asked = 0;
  readonly #waiting = new Map<number, { resolve(answer: never): void; reject(problem: Problem): void }>();

  /** By a number, under which the answer comes. */
  ask<Answer>(say: (id: number) => void): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(++this.#asked, { resolve, reject });
      say(this.#asked);
    });
  }

  answer(id: number, data: unknown, refused: Problem | undefined): void {
    const one = this.#waiting.get(id);
    this.#waiting.delete(id);
    refused ? one?.reject(refused) : one?.resolve(data as never);
  }

  end(): void {
    for (const { reject } of this.#waiting.values()) reject(new Problem('unreachable', 'the connection ended'));
  }
}
