/** What the pages take from the shell. */
export { announce } from './announcements';
export { serverOf } from './server';
export { start, type PageStart } from './start';
export { toast, type Toast } from './toast';
export { useHere, type Here } from './useHere';
export type { Session } from './session';
