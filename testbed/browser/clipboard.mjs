// What is in the clipboard, for scenarios: the page may not read it, so it is pasted into a page of its own.
export async function pasted(context, page) {
  const other = await context.newPage();
  await other.setContent('<textarea></textarea>');
  await other.locator('textarea').focus();
  await other.keyboard.press('Control+V');
  const text = await other.locator('textarea').inputValue();
  await other.close();
  await page.bringToFront();
  return text;
}
