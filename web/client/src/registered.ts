import type { AnyEvents } from './event';

/**
 * The application's events, for hooks that are written without type arguments. Merge the map that `tidings triggers types` writes into it:
 *
 * ```ts
 * declare module '@tidings/client' {
 *   interface Register { events: AppEvents }
 * }
 * ```
 */
export interface Register {}

/** The map that was registered, or any events. */
export type RegisteredEvents<Registered = Register> = Registered extends { events: infer Map extends object } ? Map : AnyEvents;
