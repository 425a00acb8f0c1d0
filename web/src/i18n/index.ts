/** The texts in use, and times and durations in words. A further language is a module like `en.ts`, loaded on demand. */
import { en, type Messages } from './en.ts';

export type Key = keyof Messages;

let messages: Messages = en;
let locale = 'en';

/** Takes a language, and the visitor's own flavour of it (`en-AU`) for times. */
export function use(language: Messages, wanted: readonly string[]): void {
  messages = language;
  locale = wanted.find((one) => one.split('-')[0] === language.lang) ?? language.lang;
}

export function t(key: Key, fill: Record<string, string> = {}): string {
  return messages[key].replace(/\{(\w+)\}/g, (_, name: string) => fill[name] ?? '');
}

/** A point in time in the visitor's zone, which is named. */
export function time(ms: number): string {
  const parts = { weekday: 'short', day: 'numeric', month: 'short', hour: 'numeric', minute: '2-digit', timeZoneName: 'short' } as const;
  try {
    return new Intl.DateTimeFormat(locale, parts).format(ms);
  } catch {
    // The protocol allows times that are later than a Date can be.
    return '∞';
  }
}

/** A duration in its greatest unit, rounded down: what is promised is there. Seconds are rounded up: for waiting. */
export function duration(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  const [value, unit] =
    seconds < 120 ? [seconds, 'second'] : seconds < 7200 ? [seconds / 60, 'minute'] : seconds < 172800 ? [seconds / 3600, 'hour'] : [seconds / 86400, 'day'];
  return new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay: 'long' } as Intl.NumberFormatOptions).format(Math.floor(value));
}
