import { useCallback, useEffect, useRef, useState, type RefObject } from 'react';

/** A popover that opens from a button: Escape and a press elsewhere close it, and the focus goes back to where it came from. */
export function usePopover(): {
  isOpen: boolean;
  toggle(): void;
  close(): void;
  button: RefObject<HTMLButtonElement | null>;
  surface: RefObject<HTMLDivElement | null>;
} {
  const [isOpen, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement | null>(null);
  const surface = useRef<HTMLDivElement | null>(null);
  const close = useCallback(() => {
    setOpen(false);
    button.current?.focus();
  }, []);
  useEffect(() => {
    if (!isOpen) return;
    surface.current?.focus();
    const key = (event: KeyboardEvent) => {
      if (event.key === 'Escape' && !event.defaultPrevented) {
        event.preventDefault();
        close();
      }
    };
    const press = (event: PointerEvent) => {
      const target = event.target as Node;
      if (!surface.current?.contains(target) && !button.current?.contains(target)) setOpen(false);
    };
    document.addEventListener('keydown', key);
    document.addEventListener('pointerdown', press);
    return () => {
      document.removeEventListener('keydown', key);
      document.removeEventListener('pointerdown', press);
    };
  }, [isOpen, close]);
  return { isOpen, toggle: useCallback(() => setOpen((open) => !open), []), close, button, surface };
}
