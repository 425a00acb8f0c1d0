// Somebody to whom a link was not meant: says so, with the code from the mail, after a wrong one. args: {link, code, from}: the
// state that they find. Gives the states, the last of them after a reload.
const WRONG = 'A1B2-C3D8';

export default async function declineLink({ page, args, press, inspect, state, seen }) {
  const { link, code, from } = args;
  const id = (name) => page.getByTestId(name);
  await page.goto(link);
  await state(from);
  // Going back changes nothing.
  await press(id('decline'));
  await state('decline');
  await press(id('back'));
  await state(from);
  await press(id('decline'));
  await state('decline');
  await id('code').fill(WRONG);
  await press(id('decline-confirm'));
  await page.getByText('This is not the code').waitFor();
  await inspect('wrong code');
  // The wait is told, and over after a second.
  await page.locator('[data-testid=decline-confirm]:not([aria-disabled])').waitFor();
  await id('code').fill(code);
  await press(id('decline-confirm'));
  await state('declined');
  await page.reload();
  const after = page.locator('main[data-state^="over:"]');
  await after.waitFor();
  await state(await after.getAttribute('data-state'));
  return seen;
}
