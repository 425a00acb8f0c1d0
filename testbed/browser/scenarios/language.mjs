// Somebody whose browser wants other languages: which one the page speaks. args: {link, languages}: `languages` instead of
// those of the context's locale.
export default async function language({ page, args, state }) {
  const { link, languages } = args;
  if (languages) await page.addInitScript((wanted) => Object.defineProperty(navigator, 'languages', { get: () => wanted }), languages);
  await page.goto(link);
  await state('ask');
  return page.evaluate(() => ({
    wanted: navigator.languages,
    lang: document.documentElement.lang,
    dir: document.documentElement.dir || 'ltr',
    heading: document.querySelector('main h1').textContent.trim(),
    chosen: document.querySelector('footer select').value,
  }));
}
