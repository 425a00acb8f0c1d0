// Somebody who opens a link without a code: waits until the page has made up its mind, and says in which state it is.
// args: {link, press}: with `press`, presses "open" and waits for the state after it.
export default async function glanceAtLink({ page, args, press, inspect, state }) {
  await page.goto(args.link);
  const settled = page.locator('main[data-state]:not([data-state="looking"], [data-state="ask:early"])');
  await settled.waitFor();
  await inspect(await settled.getAttribute('data-state'));
  if (args.press) {
    await press(page.getByTestId('open'));
    await state('opened');
  }
  return { state: await settled.getAttribute('data-state'), fields: await page.getByTestId('field').count() };
}
