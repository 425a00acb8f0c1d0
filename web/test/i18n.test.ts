/** Every language says everything, with the same things filled in. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { LANGUAGES, ahead, apart, choose, count, duration, t, time, use, type Messages } from '../src/i18n/index.ts';

const FOLDER = 'src/i18n/';
const texts = (lang: string): Messages => JSON.parse(readFileSync(FOLDER + lang + '.json', 'utf8')) as Messages;
const english = texts('en');
const filled = (text: string): string => [...text.matchAll(/\{\w+\}/g)].map(([name]) => name).sort().join();

test('the files are the languages', () => {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -5));
  assert.deepEqual(files.sort(), Object.keys(LANGUAGES).sort());
});

for (const lang of Object.keys(LANGUAGES)) {
  test(`${lang} has every text, in the same order, with the same blanks`, () => {
    const own = texts(lang);
    assert.deepEqual(Object.keys(own), Object.keys(english));
    for (const [key, text] of Object.entries(own)) {
      assert.equal(filled(text), filled(english[key as keyof Messages]), key);
      assert.ok(text.trim() === text && text !== '' && !/[<>]/.test(text), key);
      // A text that was not translated. Some words are the same: "Adresse", "Note", "Code".
      if (lang !== 'en' && text.length > 16) assert.notEqual(text, english[key as keyof Messages], key);
    }
    // The button is named as it reads.
    assert.ok(own['secret.whenSaved'].includes(own['secret.saved']));
    for (const literal of ['https://', '7K3M-9QZB', 'password-sender open']) {
      for (const [key, text] of Object.entries(english)) if (text.includes(literal)) assert.ok(own[key as keyof Messages].includes(literal), key);
    }
  });
}

test('the first language that we have is chosen', () => {
  assert.equal(choose(['de-AT', 'en']), 'de');
  assert.equal(choose(['sv', 'pt-BR', 'en']), 'pt');
  assert.equal(choose(['ZH-Hant-TW']), 'zh');
  assert.equal(choose(['sv', 'constructor', '']), 'en');
  assert.equal(choose([]), 'en');
});

test('times, durations and numbers are said in the language', () => {
  const hour = 3_600_000;
  use(english, 'en', ['en-GB']);
  assert.equal(duration(hour), '1 hour');
  assert.equal(duration(90 * 60_000), '90 minutes');
  assert.equal(duration(1500), '2 seconds');
  assert.equal(duration(47.9 * hour), '47 hours');
  assert.equal(duration(72 * hour), '3 days');
  assert.equal(ahead(3.5 * hour), 'in 3 hours');
  assert.match(time(Date.UTC(2026, 10, 30, 12)), /Mon,? 30 Nov/);
  assert.equal(time(2 ** 53 - 1), '∞');
  use(texts('de'), 'de', ['de-AT']);
  assert.equal(duration(2 * hour), '2 Stunden');
  assert.equal(ahead(2 * hour), 'in 2 Stunden');
  use(texts('pl'), 'pl', []);
  assert.deepEqual([1, 2, 5].map((n) => duration(n * 24 * 3 * hour)), ['3 dni', '6 dni', '15 dni']);
  use(texts('ar'), 'ar', ['ar-EG']);
  assert.equal(count(4), '٤');
  assert.equal(ahead(2 * hour), 'خلال ساعتين');
  use(english, 'en', []);
  assert.equal(t('secret.ask', { sender: apart('\u202eevil') }), 'If you have questions, ask \u2068\u202eevil\u2069.');
});
