/** The few icons that the components and pages use: strokes on a grid of 24, in the colour of the text beside them. */
import type { ReactElement } from 'react';

const drawings = {
  alert: 'M12 4 2.8 19.5h18.4zM12 10v4.5M12 17.2v.1',
  archive: 'M3.5 5h17v4h-17zM5 9v10h14V9M10 13h4',
  back: 'M15 5l-7 7 7 7',
  bell: 'M6 16.5V11a6 6 0 0 1 12 0v5.5l1.5 1.5h-15zM10 20.5h4M12 5V3.5',
  bolt: 'M13 3 5.5 13.5H11L10 21l8-11h-5.5z',
  chat: 'M4 5h16v11h-8l-4.5 4V16H4z',
  check: 'M4.5 12.5l5 5 10-11',
  chevron: 'M6 9l6 6 6-6',
  clock: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM12 7.5V12l3 2',
  close: 'M6 6l12 12M18 6L6 18',
  copy: 'M9 8h11v12H9zM5 16H4V4h11v1',
  cross: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM9 9l6 6M15 9l-6 6',
  document: 'M6 3.5h8l4 4v13H6zM14 3.5v4h4M9 12.5h6M9 16h6',
  done: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM8.5 12.2l2.5 2.5 4.5-5',
  doubleCheck: 'M2.5 12.5l4.5 4.5 8-9.5M12 16l1.2 1.2 8.3-9.7',
  help: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM9.7 9.7a2.4 2.4 0 1 1 3.3 2.2c-.7.3-1 .8-1 1.6M12 16.6v.1',
  info: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM12 11v5M12 7.7v.1',
  keyboard: 'M3 6.5h18v11H3zM6.5 10h.1M10 10h.1M13.5 10h.1M17 10h.1M8 14h8',
  link: 'M10 14l4-4M11 7l2-2a4 4 0 0 1 6 6l-2 2M13 17l-2 2a4 4 0 0 1-6-6l2-2',
  menu: 'M5 12h.1M12 12h.1M19 12h.1',
  moon: 'M19.5 14A8 8 0 0 1 10 4.5a8 8 0 1 0 9.5 9.5z',
  mute: 'M4 9.5h3.5L12 5.5v13l-4.5-4H4zM16 9.5l5 5M21 9.5l-5 5',
  offline: 'M3 9.5a13 13 0 0 1 4-2.4M11 6.1A13 13 0 0 1 21 9.5M6.5 13.2a8 8 0 0 1 3-1.8M14.5 11.5a8 8 0 0 1 3 1.7M12 18v.1M4 3.5l16 17',
  person: 'M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4.5 20.5a7.5 7.5 0 0 1 15 0',
  plus: 'M12 5v14M5 12h14',
  retry: 'M19.5 12a7.5 7.5 0 1 1-2.2-5.3L19.5 9M19.5 4v5h-5',
  search: 'M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.3 15.3L20.5 20.5',
  send: 'M4 4.5l16.5 7.5L4 19.5l2.5-7.5zM6.5 12h7',
  signOut: 'M13 4H5v16h8M10 12h11M17.5 8.5L21 12l-3.5 3.5',
  sound: 'M4 9.5h3.5L12 5.5v13l-4.5-4H4zM15.5 9a4.5 4.5 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11',
  spinner: 'M12 3.5a8.5 8.5 0 1 1-8.5 8.5',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M18.7 5.3l-1.4 1.4M6.7 17.3l-1.4 1.4',
  trash: 'M4.5 6.5h15M9 6.5v-3h6v3M6.5 6.5l1 14h9l1-14M10 10.5v6M14 10.5v6',
  undo: 'M8.5 5L4 9.5 8.5 14M4 9.5h10a5.5 5.5 0 0 1 0 11H9',
  upload: 'M12 16V4.5M7 9l5-5 5 5M4 15.5V20h16v-4.5',
} as const;

export type IconName = keyof typeof drawings;

/** Decoration: it is hidden from screen readers, so what it says must also stand in a text or a label. */
export function Icon({ name, className = '' }: { name: IconName; className?: string }): ReactElement {
  const turning = name === 'spinner' ? ' t-spinner' : '';
  return (
    <svg className={`t-icon${turning} ${className}`.trimEnd()} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={drawings[name]} />
    </svg>
  );
}
