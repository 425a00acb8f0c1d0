// Somebody whose browser runs no scripts: what the page says. args: {link, contextOptions: {javaScriptEnabled: false}}.
export default async function noScript({ page, args }) {
  await page.goto(args.link);
  return { text: await page.locator('main').innerText(), title: await page.title(), fields: await page.locator('input').count() };
}
