// A mail scanner: fetches the link in every harmless way, runs the page's scripts, presses what can be pressed without
// typing, and comes again. args: {link}.
export default async function scanLink({ page, context, args, press, state, seen }) {
  const { link } = args;
  const [base] = link.split('#');
  for (const method of ['GET', 'HEAD', 'OPTIONS']) await context.request.fetch(base, { method, failOnStatusCode: false });
  for (const verb of ['lookup', 'claim', 'decline']) {
    await context.request.fetch(`${base}api/v1/links/${verb}`, { method: 'GET', failOnStatusCode: false });
  }
  for (const _visit of [1, 2]) {
    await page.goto('about:blank');
    await page.goto(link);
    await page.locator('main[data-state="ask"]').waitFor();
    await press(page.getByTestId('open'));
    await press(page.getByTestId('decline'));
    await press(page.getByTestId('decline-confirm'));
    await page.goto('about:blank');
    await page.goto(link);
    await state('ask');
  }
  return { states: seen.states };
}
