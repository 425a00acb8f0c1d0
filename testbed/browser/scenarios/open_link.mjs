// A recipient: opens the link, types what is asked for, reads every value, says that it is saved, and comes back once more.
// args: {link, code, passphrase, wrongPassphrase, copy, acknowledge = true}: with a wrong passphrase, that one is tried first; with
// `copy`, what was hidden is copied, and the clipboard emptied. Gives what the page showed.
import assert from 'node:assert/strict';
import { pasted } from '../clipboard.mjs';

export const options = { permissions: ['clipboard-write'] };

export default async function openLink({ page, context, args, press, inspect, state, seen }) {
  const { link, code, passphrase, wrongPassphrase, copy, acknowledge = true } = args;
  const id = (name) => page.getByTestId(name);
  const type = async (name, text) => {
    await press(id(name));
    await page.keyboard.press('Control+A');
    await page.keyboard.type(text);
    assert.equal(await id(name).inputValue(), text);
  };
  const copied = async (field, value) => {
    await press(field.getByTestId('copy'));
    await field.getByText('Copied').waitFor();
    assert.equal(await pasted(context, page), value);
    await inspect('copied');
    await press(id('clear'));
    await page.getByText('The clipboard is empty').first().waitFor();
    assert.equal(await pasted(context, page), '');
    await inspect('cleared');
  };
  await page.goto(link);
  await state('ask');
  const title = (await id('title').textContent()).trim();
  const asked = await page.locator('main input').evaluateAll((inputs) => inputs.map((input) => input.id));
  if (asked.includes('code')) await type('code', code);
  if (asked.includes('passphrase')) {
    await type('passphrase', wrongPassphrase ?? passphrase);
    for (const shown of ['text', 'password']) {
      await press(id('passphrase-show'));
      assert.equal(await id('passphrase').getAttribute('type'), shown);
    }
  }
  if (wrongPassphrase) {
    await press(id('open'));
    await page.getByText(/Attempts left: \d/).waitFor();
    await inspect('wrong passphrase');
    await page.locator('[data-testid=open]:not([aria-disabled])').waitFor();
    await type('passphrase', passphrase);
  }
  await press(id('open'));
  await state('opened');
  const fields = [];
  let hiddenBefore = true;
  for (const field of await id('field').all()) {
    const [key, kind] = [await field.getAttribute('data-key'), await field.getAttribute('data-kind')];
    const show = field.getByTestId('show');
    if (await show.count()) {
      const before = await page.content();
      await press(show);
      const value = await field.getByTestId('value').textContent();
      hiddenBefore &&= !before.includes(value);
      if (copy) await copied(field, value);
    }
    fields.push({ key, kind, value: await field.getByTestId('value').textContent() });
  }
  if (acknowledge) {
    await press(id('acknowledge'));
    await state('done');
    await page.reload();
    await state('over:mine');
  }
  return { title, asked, fields, hiddenBefore, ...seen };
}
