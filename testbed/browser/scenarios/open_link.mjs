// A recipient: opens the link, types the code, reads every value, says that it is saved, and comes back once more.
// args: {link, code, acknowledge = true}. Gives what the page showed, and what axe found in each state.
export default async function openLink({ page, args, axe }) {
  const { link, code, acknowledge = true } = args;
  const id = (name) => page.getByTestId(name);
  const states = [];
  const violations = {};
  const state = async (name) => {
    await page.locator(`main[data-state="${name}"]`).waitFor();
    const found = await axe();
    if (found.length > 0) violations[name] = found;
    states.push(name);
  };
  await page.goto(link);
  await state('ask');
  const title = (await id('title').textContent()).trim();
  if (await id('code').count()) await id('code').fill(code);
  await id('open').click();
  await state('opened');
  const fields = [];
  let hiddenBefore = true;
  for (const field of await id('field').all()) {
    const [key, kind] = [await field.getAttribute('data-key'), await field.getAttribute('data-kind')];
    const show = field.getByTestId('show');
    if (await show.count()) {
      const before = await page.content();
      await show.click();
      const value = await field.getByTestId('value').textContent();
      hiddenBefore &&= !before.includes(value);
    }
    fields.push({ key, kind, value: await field.getByTestId('value').textContent() });
  }
  if (acknowledge) {
    await id('acknowledge').click();
    await state('done');
    await page.reload();
    await state('over:mine');
  }
  return { title, fields, hiddenBefore, violations, states };
}
