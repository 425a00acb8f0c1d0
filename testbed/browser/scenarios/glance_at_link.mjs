// Somebody who opens a link without a code: waits until the page has made up its mind, and says in which state it is.
// args: {link, press}: with `press`, presses "open" and waits for the state after it.
export default async function glanceAtLink({ page, args }) {
  await page.goto(args.link);
  const settled = page.locator('main:not([data-state="looking"])');
  await settled.waitFor();
  if (args.press) {
    await page.getByTestId('open').click();
    await page.locator('main[data-state="opened"]').waitFor();
  }
  return { state: await settled.getAttribute('data-state'), fields: await page.getByTestId('field').count() };
}
