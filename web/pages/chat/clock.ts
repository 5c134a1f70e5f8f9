/** What time it is, for all that shows how long ago something was: one timer for the page, and none while nobody asks. */
import { cell } from '../../client/store/store';
import { useStore } from '../../client/react/useStore';
import { texts } from '../texts';

const tickMs = 1000;

const clock = cell(Date.now(), () => {
  clock.set(Date.now());
  const timer = setInterval(() => clock.set(Date.now()), tickMs);
  return () => clearInterval(timer);
});

export function useNow(): number {
  return useStore(clock);
}

/** `4:05`, `2 h 5 min`, `3 d 2 h`. */
export function span(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 3600) return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
  const hours = Math.floor(whole / 3600);
  return hours < 24 ? texts.chat.span.hours(hours, Math.floor((whole % 3600) / 60)) : texts.chat.span.days(Math.floor(hours / 24), hours % 24);
}

export function ago(time: string, now: number): string {
  const seconds = Math.floor((now - Date.parse(time)) / 1000);
  const { ago: words } = texts.chat;
  if (seconds < 5) return words.now;
  if (seconds < 60) return words.seconds(seconds);
  if (seconds < 3600) return words.minutes(Math.floor(seconds / 60));
  if (seconds < 86_400) return words.hours(Math.floor(seconds / 3600));
  return words.days(Math.floor(seconds / 86_400));
}
