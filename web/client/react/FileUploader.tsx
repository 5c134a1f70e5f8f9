import { useEffect, useId, useRef, useState, type ReactElement } from 'react';
import { Icon } from './icons';
import { texts } from './texts';
import { useUploads } from './useUploads';

/**
 * Where files are dropped or chosen. What becomes of them stands in the uploads. With `wholeWindow` they may be dropped anywhere; a file that
 * misses would else replace the page.
 */
export function FileUploader({ wholeWindow = true, accept }: { wholeWindow?: boolean; accept?: string }): ReactElement {
  const { upload } = useUploads();
  const [isOver, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const zone = useRef<HTMLDivElement>(null);
  const id = useId();
  useEffect(() => {
    const target: EventTarget = wholeWindow ? window : zone.current!;
    // Entering a child leaves its parent: only who counts knows whether the pointer is still inside.
    let depth = 0;
    const ofFiles = (event: Event) => (event as DragEvent).dataTransfer?.types.includes('Files') ?? false;
    const enter = (event: Event) => ofFiles(event) && (depth++, setOver(true));
    const leave = (event: Event) => ofFiles(event) && --depth <= 0 && ((depth = 0), setOver(false));
    const over = (event: Event) => ofFiles(event) && event.preventDefault();
    const drop = (event: Event) => {
      depth = 0;
      setOver(false);
      if (!ofFiles(event)) return;
      event.preventDefault();
      upload(filesOf((event as DragEvent).dataTransfer!));
    };
    const on = { dragenter: enter, dragleave: leave, dragover: over, drop };
    for (const [name, listener] of Object.entries(on)) target.addEventListener(name, listener);
    return () => {
      for (const [name, listener] of Object.entries(on)) target.removeEventListener(name, listener);
    };
  }, [wholeWindow, upload]);
  return (
    <div className="t-dropzone" ref={zone} data-over={isOver || undefined}>
      <Icon name="upload" />
      <p>
        <strong>{isOver ? texts.uploads.dropNow : texts.uploads.drop}</strong>
        <span id={id}>{texts.uploads.dropHint}</span>
      </p>
      <button type="button" className="t-button" aria-describedby={id} onClick={() => input.current?.click()}>
        {texts.uploads.chooseFiles}
      </button>
      <input
        ref={input}
        type="file"
        multiple
        hidden
        accept={accept}
        aria-label={texts.uploads.chooseFiles}
        onChange={(event) => {
          upload([...(event.currentTarget.files ?? [])]);
          event.currentTarget.value = ''; // The same file may be chosen again.
        }}
      />
    </div>
  );
}

/** A dropped folder is no file: it is left out, since reading it would only fail. */
function filesOf(transfer: DataTransfer): File[] {
  return [...transfer.items].flatMap((item) => (item.kind === 'file' && !item.webkitGetAsEntry?.()?.isDirectory ? (item.getAsFile() ?? []) : []));
}
