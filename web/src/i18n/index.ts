/**
 * The texts in use, and times, durations and numbers in words. Each language is a JSON file here and two in `dist/`: what every
 * visitor reads, and what belongs to files that come later. The page loads the visitor's.
 */
import type en from './en.json';

export type Key = keyof typeof en;
export type Messages = Record<Key, string>;

/** The languages, each by its own name. */
export const LANGUAGES: Readonly<Record<string, string>> = {
  en: 'English',
  de: 'Deutsch',
  fr: 'Français',
  es: 'Español',
  it: 'Italiano',
  pt: 'Português',
  nl: 'Nederlands',
  pl: 'Polski',
  ja: '日本語',
  zh: '中文',
  ar: 'العربية',
};

let messages: Messages;
let locale = 'en';

/** The first language of the visitor's that we have, else English. */
export function choose(wanted: readonly string[]): string {
  return wanted.map(primary).find((one) => Object.hasOwn(LANGUAGES, one)) ?? 'en';
}

/** Takes a language, and the visitor's own flavour of it (`en-AU`) for times. */
export function use(texts: Partial<Messages>, lang: string, wanted: readonly string[]): void {
  messages = texts as Messages;
  locale = wanted.find((one) => primary(one) === lang) ?? lang;
}

/** Adds the texts of what is loaded later. */
export function add(texts: Partial<Messages>): void {
  messages = { ...messages, ...texts };
}

function primary(tag: string): string {
  return tag.split('-')[0]!.toLowerCase();
}

export function t(key: Key, fill: Record<string, string> = {}): string {
  return messages[key].replace(/\{(\w+)\}/g, (_, name: string) => fill[name] ?? '');
}

/** Text from outside inside a sentence of ours: its writing direction can't change that of the sentence. */
export function apart(text: string): string {
  return '\u2068' + text + '\u2069';
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

type Unit = 'second' | 'minute' | 'hour' | 'day';

/** A duration in its greatest unit, rounded down: what is promised is there. Seconds are rounded up: for waiting. One whole hour is an hour. */
function inUnit(ms: number): [number, Unit] {
  const seconds = Math.ceil(ms / 1000);
  const [value, unit]: [number, Unit] =
    seconds < 120 ? [seconds, 'second'] : seconds < 7200 && seconds !== 3600 ? [seconds / 60, 'minute'] : seconds < 172800 ? [seconds / 3600, 'hour'] : [seconds / 86400, 'day'];
  return [Math.floor(value), unit];
}

export function duration(ms: number): string {
  const [value, unit] = inUnit(ms);
  return new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay: 'long' } as Intl.NumberFormatOptions).format(value);
}

/** "in 3 hours". */
export function ahead(ms: number): string {
  return new Intl.RelativeTimeFormat(locale).format(...inUnit(ms));
}

export function count(value: number): string {
  return new Intl.NumberFormat(locale).format(value);
}

/** What a file that is loaded later speaks with: it has no words of its own. */
export const words = { t, time, duration, apart };
export type Words = typeof words;
