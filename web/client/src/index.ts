export { connect } from './connect';
export type { AnyEvents, EventsOf, TidingsEvent, TypeGlob } from './event';
export type { Connection, Filter, Handlers, Options, Ready, Reset, State, Status, Subscription, TransportName } from './connection';
export { Problem } from './problem';
export type { Register, RegisteredEvents } from './registered';
