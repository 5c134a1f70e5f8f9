/**
 * A short sound when somebody waits or says something. Off until it is asked for: an office of admins is loud. Of a browser's tabs one
 * sounds (`useTurn.ts`).
 */
import { cell, type Store } from '../../client/store/store';

const key = 'tidings-chat-sound';
/** What comes in a burst sounds once. */
const pauseMs = 2000;

export interface Chime extends Store<boolean> {
  toggle(): void;
  sound(): void;
}

export function openChime(): Chime {
  const kept = () => {
    try {
      return localStorage.getItem(key) === 'on';
    } catch {
      return false;
    }
  };
  const heard = (event: StorageEvent) => {
    if (event.key === key) state.set(kept());
  };
  const state = cell(kept(), () => {
    addEventListener('storage', heard);
    return () => removeEventListener('storage', heard);
  });
  let audio: AudioContext | null = null;
  let last = -Infinity;
  const sound = () => {
    if (Date.now() - last < pauseMs) return;
    last = Date.now();
    // Made as late as this, since browsers let a page be heard only after somebody has used it.
    audio ??= new AudioContext();
    void audio.resume();
    const start = audio.currentTime;
    const gain = audio.createGain();
    gain.connect(audio.destination);
    gain.gain.setValueAtTime(0, start);
    gain.gain.linearRampToValueAtTime(0.12, start + 0.02);
    gain.gain.exponentialRampToValueAtTime(0.001, start + 0.35);
    for (const [frequency, delay] of [[660, 0], [880, 0.12]] as const) {
      const tone = audio.createOscillator();
      tone.frequency.value = frequency;
      tone.connect(gain);
      tone.start(start + delay);
      tone.stop(start + 0.36);
    }
  };
  return {
    get: state.get,
    subscribe: state.subscribe,
    toggle() {
      const on = !state.get();
      try {
        localStorage.setItem(key, on ? 'on' : 'off');
      } catch {
        // It lasts as long as the page.
      }
      state.set(on);
      // Let it be heard, and let the browser know that it was wanted.
      if (on) sound();
    },
    sound,
  };
}
