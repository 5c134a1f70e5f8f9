import { useEffect, useRef, type RefObject } from 'react';

/** From the last movement until a press: as long as one needs to read a row and decide. */
const restMs = 2_000;

/** Tells when a pointer begins to move over an element, and when it has rested or left: in between nothing may slide away below it. */
export function usePointing(element: RefObject<Element | null>, changed: (isPointing: boolean) => void): void {
  const listener = useRef(changed);
  useEffect(() => {
    listener.current = changed;
  });
  useEffect(() => {
    const over = element.current;
    if (!over) return;
    let timer: ReturnType<typeof setTimeout> | null = null;
    const rest = () => {
      if (timer === null) return;
      clearTimeout(timer);
      timer = null;
      listener.current(false);
    };
    const move = (event: Event) => {
      // A finger on glass has no way to hover: what it scrolls is held by other means.
      if ((event as PointerEvent).pointerType === 'touch') return;
      if (timer === null) listener.current(true);
      else clearTimeout(timer);
      timer = setTimeout(rest, restMs);
    };
    over.addEventListener('pointermove', move);
    over.addEventListener('pointerleave', rest);
    return () => {
      over.removeEventListener('pointermove', move);
      over.removeEventListener('pointerleave', rest);
      rest();
    };
  }, [element]);
}
