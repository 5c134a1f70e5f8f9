import { cell, type Cell, type Store } from './store';

/**
 * A store whose changes are shown before the server has agreed. What the server said and what is only hoped for are kept apart, and what is seen
 * is the hopes laid over the facts: so a rollback is to drop a hope, and never undoes an event that came meanwhile.
 */
export interface Optimistic<State> extends Store<State> {
  /** What the server has said so far. */
  facts(): State;
  /** The server says more: an event, a page of a list. */
  learn(change: (facts: State) => State): void;
  /**
   * Shows `hope` at once and asks. When the answer comes the hope goes, and `settle` makes facts of the answer in the same moment; when it is refused
   * the hope goes, and the refusal is thrown. `hope` runs again over each new fact, so it must stand being applied to what already has it.
   */
  attempt<Answer>(hope: (state: State) => State, ask: () => Promise<Answer>, settle?: (facts: State, answer: Answer) => State): Promise<Answer>;
}

/** `begin`: as of a `cell`. */
export function optimistic<State>(initial: State, begin?: () => () => void): Optimistic<State> {
  const seen: Cell<State> = cell(initial, begin);
  const hopes = new Set<{ apply: (state: State) => State }>();
  let facts = initial;
  const show = () => {
    let state = facts;
    for (const hope of hopes) state = hope.apply(state);
    seen.set(state);
  };
  return {
    get: seen.get,
    subscribe: seen.subscribe,
    facts: () => facts,
    learn(change) {
      const next = change(facts);
      if (Object.is(next, facts)) return;
      facts = next;
      show();
    },
    async attempt(apply, ask, settle) {
      const hope = { apply };
      hopes.add(hope);
      show();
      try {
        const answer = await ask();
        if (settle) facts = settle(facts, answer);
        return answer;
      } finally {
        hopes.delete(hope);
        show();
      }
    },
  };
}
