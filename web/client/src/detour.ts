/**
 * What is only a way round where the WebSocket does not do: the other transports, pages, and routes in place of commands. Loaded when it is
 * wanted, since most pages never do.
 */
export { follow, refuse } from './behind';
export { byRoute } from './command';
export { poll } from './poll';
export { stream as sse } from './stream';
