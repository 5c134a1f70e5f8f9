import { useEffect, useRef, type RefObject } from 'react';

/** Tells when an element comes into view and when it leaves it; `margin` in pixels around the view. */
export function useInView<Of extends Element>(changed: (isInView: boolean) => void, margin = 0): RefObject<Of | null> {
  const element = useRef<Of | null>(null);
  const listener = useRef(changed);
  useEffect(() => {
    listener.current = changed;
  });
  useEffect(() => {
    if (!element.current || typeof IntersectionObserver === 'undefined') return;
    // A margin counts from the box that scrolls: in a popover that is the popover.
    const root = element.current.closest('.t-popover');
    const observer = new IntersectionObserver((entries) => listener.current(entries.at(-1)!.isIntersecting), { root, rootMargin: `${margin}px 0px` });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [margin]);
  return element;
}
