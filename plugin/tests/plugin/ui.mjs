// A person in OpenBao's UI: signs in with a token, finds the mount, uses the console, and tries paths in the API explorer.
// args: address, token, mount, role, picture.
export default async ({ page, args: { address, token, mount, role, picture } }) => {
  // The form is drawn anew, and empty, once the page knows how one may sign in.
  const methods = page.waitForResponse((one) => one.url().endsWith('/sys/internal/ui/mounts'));
  await page.goto(`${address}/ui/`);
  await methods;
  await page.waitForLoadState('networkidle');
  await page.locator('input[name=token]').fill(token);
  await page.getByRole('button', { name: 'Sign In' }).click();
  const engine = page.locator('.list-item-row', { hasText: `${mount}/` });
  const listed = await engine.innerText();

  const toggle = page.getByRole('button', { name: 'Console toggle' });
  await toggle.click();
  const input = page.locator('.console-ui-input input');
  const enter = async (command, wanted) => {
    await input.fill(command);
    await input.press('Enter');
    const answered = ({ command, wanted }) => document.querySelector('.console-ui-panel').innerText.split(command).at(-1).match(wanted);
    await page.waitForFunction(answered, { command, wanted });
  };
  await enter(`write ${mount}/roles/${role} max_ttl=1h require_passphrase=true`, `Success! Data written to: ${mount}/roles/${role}`);
  await enter(`read ${mount}/roles/${role}`, 'max_ttl\\s+1h');
  await enter(`list ${mount}/roles`, `Keys[^]*${role}`);
  // The explorer has no entry in the menu: this is the way to it.
  await input.fill('api');
  await input.press('Enter');
  await page.locator('.opblock').first().waitFor();
  await toggle.click();
  await page.getByPlaceholder('Filter ops by path').fill(`/${mount}/`);
  await page.locator('.opblock-summary-path').filter({ hasNotText: `/${mount}/` }).first().waitFor({ state: 'detached' });
  const described = await page.locator('.opblock-summary').evaluateAll((all) => all.map((one) => ({
    method: one.querySelector('.opblock-summary-method').textContent,
    path: one.querySelector('[data-path]').dataset.path,
    summary: one.querySelector('.opblock-summary-description').textContent,
  })));

  // Opens an operation, fills in the path, and sends what the UI proposes as its body.
  const attempt = async (method, path, parameters) => {
    const block = page.locator(`.opblock-${method}`).filter({ has: page.locator(`[data-path="/${mount}/${path}"]`) });
    await block.locator('.opblock-summary-control').click();
    const words = await block.locator('.opblock-description').allInnerTexts();
    await block.getByRole('button', { name: 'Try it out' }).click();
    for (const [name, value] of Object.entries(parameters)) {
      await block.locator(`tr[data-param-name="${name}"] input`).fill(value);
    }
    const answered = page.waitForResponse((one) => one.request().method() === method.toUpperCase() && one.url().includes(`/v1/${mount}/`));
    await block.getByRole('button', { name: 'Execute' }).click();
    const answer = await answered;
    const shown = block.locator('.live-responses-table .response-col_status').last();
    await shown.getByText(String(answer.status())).first().waitFor();
    const body = await answer.json().catch(() => null);
    const proposed = await block.locator('textarea.body-param__text').allInnerTexts();
    return { method, path, words: words.join(), status: (await shown.innerText()).trim(), proposed: proposed.join(), sent: answer.request().url(), data: body?.data, errors: body?.errors };
  };
  const tried = [
    await attempt('post', 'config', {}),
    await attempt('get', 'config', {}),
    await attempt('post', 'roles/{name}', { name: role }),
    await attempt('get', 'roles/', {}),
    await attempt('post', 'link/{role}', { role }),
  ];
  const { id } = tried.at(-1).data;
  tried.push(await attempt('get', 'links/{id}', { id }));
  await page.screenshot({ path: picture, fullPage: true });
  tried.push(await attempt('delete', 'links/{id}', { id }));
  tried.push(await attempt('get', 'events', { after: '0', limit: '1' }));
  tried.push(await attempt('post', 'gateway/claim', {}));
  tried.push(await attempt('delete', 'roles/{name}', { name: role }));
  tried.push(await attempt('get', 'roles/{name}', { name: role }));
  return { listed, described, tried };
};
