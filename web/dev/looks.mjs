// The looks in which `states.mjs` sees every state: what is checked in each, and of which states that has to be done.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { load } from './serve.mjs';

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const pictures = path('../../target/web-shots/');
/** Of each screen; the first is the one in which everything is done. */
const LOOKS = {
  desktop: { light: { colorScheme: 'light', forcedColors: 'none' }, dark: { colorScheme: 'dark', forcedColors: 'none' }, forced: { colorScheme: 'dark', forcedColors: 'active' } },
  phone: { phone: { colorScheme: 'light', forcedColors: 'none' }, 'phone-dark': { colorScheme: 'dark', forcedColors: 'none' }, 'phone-forced': { colorScheme: 'dark', forcedColors: 'active' } },
};
/** WCAG 2.2, 1.4.12: what a reader may set. */
export const SPACING = '* { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important } p { margin-bottom: 2em !important }';

/** In the page: a button's name, and the contrast of its text. */
function contrastOf(button) {
  const channels = (colour) => [...colour.matchAll(/[\d.]+/g)].map(Number);
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let behind = button;
  while (behind.parentElement && channels(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const [dark, bright] = [getComputedStyle(button).color, getComputedStyle(behind).backgroundColor].map(luminance).sort((a, b) => a - b);
  return [button.dataset.testid, (bright + 0.05) / (dark + 0.05)];
}

/** The names of the states, held against the types of the page. */
async function namesOfStates() {
  await promisify(execFile)('node', [path('../node_modules/typescript/bin/tsc'), '-p', path('.')]).catch(({ stdout }) => assert.fail(`names.ts: ${stdout}`));
  return (await load('./names.ts')).NAMES;
}

/**
 * For one screen: `shot` checks what is shown in these looks, and keeps pictures of it; `sawAll` holds the states that were seen
 * against those that there are.
 */
export async function looking({ page, phone, inspect, violations }) {
  await mkdir(pictures, { recursive: true });
  const expected = await namesOfStates();
  const english = JSON.parse(await readFile(path('../src/i18n/en.json'), 'utf8'));
  const looks = LOOKS[phone ? 'phone' : 'desktop'];
  const names = Object.keys(looks);
  const [usual] = names;
  let shots = 0;
  /** The states that axe has seen, in each look. */
  const seen = Object.fromEntries(names.map((name) => [name, new Set()]));
  /** The state that is shown; of `noLink` its reason, too, by its heading. */
  const shown = async () => {
    const [name, heading] = await page.evaluate(() => [document.querySelector('main').dataset.state, document.querySelector('h1')?.textContent]);
    if (name !== 'noLink') return name;
    return name + ':' + ['none', 'broken', 'insecure'].find((why) => english[`noLink.${why}.h`] === heading);
  };
  const look = (name) => page.emulateMedia({ ...looks[name], reducedMotion: 'reduce' });
  /** Who asks for less motion gets none. */
  const still = async (what) => {
    const moving = await page.evaluate(() => {
      const moves = (style) => style.animationName !== 'none' || style.transitionDuration.split(', ').some((time) => time !== '0s') || style.scrollBehavior === 'smooth';
      const styled = [...document.querySelectorAll('*')].filter((one) => [null, '::before', '::after'].some((part) => moves(getComputedStyle(one, part))));
      return [matchMedia('(prefers-reduced-motion: reduce)').matches, document.getAnimations().length, styled.map((one) => one.outerHTML.slice(0, 80))];
    });
    assert.deepEqual(moving, [true, 0, []], `${what}: moves`);
  };
  /** Buttons can be read while they are pointed at, and while they may not be pressed, which axe leaves out. */
  const readable = async (what) => {
    for (const button of await page.locator('main button:visible').all()) {
      await button.hover({ force: true });
      const [name, contrast] = await button.evaluate(contrastOf);
      assert.ok(contrast >= 4.5, `${what}: ${name} pointed at has a contrast of ${contrast}`);
    }
    await page.mouse.move(0, 0);
    for (const button of await page.locator('main button[aria-disabled=true]').all()) {
      const [name, contrast] = await button.evaluate(contrastOf);
      assert.ok(contrast >= 4.5, `${what}: ${name} has a contrast of ${contrast}`);
    }
  };
  const shot = async (name, wanted = names, besides = []) => {
    for (const one of wanted) {
      const what = `${name} ${one}`;
      await look(one);
      await inspect(what, besides);
      assert.deepEqual(violations, {});
      await still(what);
      await readable(what);
      seen[one].add(await shown());
      await page.screenshot({ path: `${pictures}${name}-${one}.png`, fullPage: true });
      shots += 1;
    }
    await look(usual);
  };
  /** Gives the number of pictures. */
  const sawAll = () => {
    for (const [one, states] of Object.entries(seen)) {
      states.delete(undefined); // without words
      assert.deepEqual([...states].sort(), expected, `the states that axe has seen, ${one}`);
    }
    return shots;
  };
  return { shot, usual, looks: names, pictures, sawAll };
}
