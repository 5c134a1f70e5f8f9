/** A dialog of the browser's own: it keeps the focus inside, closes with Escape and gives the focus back. */
import { useEffect, useId, useRef, type ReactNode } from 'react';
import { Icon } from '../../client/react/icons';
import { texts } from '../texts';

export function Dialog({ title, children, foot, onClose }: { title: string; children: ReactNode; foot?: ReactNode; onClose(): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const element = dialog.current!;
    const before = document.activeElement as HTMLElement | null;
    element.showModal();
    element.querySelector<HTMLElement>('[data-first]')?.focus();
    return () => {
      element.close();
      if (before?.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      className="t-dialog"
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === dialog.current) onClose();
      }}
      // Keys that mean something to the page mean nothing here.
      onKeyDown={(event) => event.stopPropagation()}
    >
      <div className="t-dialog-head">
        <h2 id={heading}>{title}</h2>
        <button type="button" className="t-icon-button" aria-label={texts.shell.close} onClick={onClose}><Icon name="close" /></button>
      </div>
      <div className="t-dialog-body">{children}</div>
      {foot && <div className="t-dialog-foot">{foot}</div>}
    </dialog>
  );
}

/** Before what cannot be undone. */
export function Confirm({ title, why, yes, onYes, onClose }: { title: string; why: string; yes: string; onYes(): void; onClose(): void }) {
  const chosen = () => {
    onClose();
    onYes();
  };
  return (
    <Dialog
      title={title}
      onClose={onClose}
      foot={<>
        <button type="button" className="t-button" onClick={onClose}>{texts.chat.confirmEnd.no}</button>
        <button type="button" className="t-button" data-kind="danger" data-first onClick={chosen}>{yes}</button>
      </>}
    >
      <p>{why}</p>
    </Dialog>
  );
}
