// What the page is shown on, and what is looked at in every state of it, whoever brings it about.
import assert from 'node:assert/strict';

/** The phone is small on purpose: what fits there fits on the others. Both are spread over a scenario's own options. */
export const SCREENS = {
  desktop: { viewport: { width: 1280, height: 900 } },
  phone: { viewport: { width: 320, height: 480 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
};

/** What a thumb hits, in CSS pixels: WCAG asks for 24, the phones' makers for 44. */
const THUMB = 44;

/** In the page: its widths, and what can be tapped and typed into. */
function measured() {
  const visible = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
  return {
    // A page that is too wide makes a phone zoom out, and then the window is as wide as the page.
    wide: { window: innerWidth, page: document.scrollingElement.scrollWidth, zoom: visualViewport.scale },
    coarse: matchMedia('(pointer: coarse)').matches,
    targets: visible('main button, main input').map((one) => [one.dataset.testid ?? one.id, one.getBoundingClientRect().height]),
    // Below 16 px some phones zoom in when the field is tapped, and stay there.
    fonts: visible('main input').map((one) => [one.id, parseFloat(getComputedStyle(one).fontSize)]),
  };
}

/**
 * What a scenario does on this screen: `press` taps or clicks; `inspect(name)` looks at what is shown; `state(name)` waits for
 * a state and inspects it. `seen` has the states, and what was wrong in them, of which the driver makes a failure.
 */
export function onScreen({ page, screen, axe }) {
  const phone = screen === 'phone';
  const { width } = SCREENS[screen].viewport;
  const seen = { states: [], violations: {} };
  const press = (what, options) => (phone ? what.tap(options) : what.click(options));
  /** `besides`: advice of axe's, beyond WCAG, that does not fit this state. */
  const inspect = async (name, besides = []) => {
    const wrong = (await axe()).filter(({ id }) => !besides.includes(id));
    const { wide, coarse, targets, fonts } = await page.evaluate(measured);
    if (wide.window !== width || wide.page > width || wide.zoom !== 1) wrong.push({ id: 'wider than the screen', ...wide });
    assert.equal(coarse, phone, 'a finger or a mouse');
    if (phone) {
      const small = [...targets.filter(([, height]) => height < THUMB), ...fonts.filter(([, size]) => size < 16)];
      if (small.length > 0) wrong.push({ id: 'too small for a thumb', targets: small });
    }
    if (wrong.length > 0) (seen.violations[name] ??= []).push(...wrong);
  };
  const state = async (name) => {
    await page.locator(`main[data-state="${name}"]`).waitFor();
    await inspect(name);
    seen.states.push(name);
  };
  return { phone, press, inspect, state, seen };
}
