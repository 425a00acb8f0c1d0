// A mail's HTML as mail programs show it: no scripts, nothing from elsewhere, with and without its style sheet, which some take
// away. args: {html}. Gives what is seen of it each time.
const ADDRESS = 'http://localhost/mail';

/** In the page. */
function measured() {
  const scroll = document.scrollingElement;
  const inside = ({ left, right, width, height }) => left >= 0 && right <= innerWidth && width > 0 && height > 0;
  const links = [...document.querySelectorAll('a')];
  return {
    links: links.map((link) => link.href),
    // Of each word of a link, not of its box alone.
    visible: links.every((link) => link.checkVisibility() && link.innerText.trim() !== '' && [...link.getClientRects()].every(inside)),
    sideways: scroll.scrollWidth > innerWidth || visualViewport.scale !== 1,
    width: innerWidth,
    pictures: document.querySelectorAll('img, picture, svg, video, object, iframe').length,
    scripts: document.scripts.length,
    dir: document.documentElement.dir,
    text: document.body.innerText,
  };
}

export default async function showMail({ page, context, args }) {
  const asked = [];
  let body = '';
  await context.route('**', (route) => {
    const url = route.request().url();
    if (url === ADDRESS) return route.fulfill({ contentType: 'text/html; charset=utf-8', body });
    asked.push(url);
    return route.abort();
  });
  const shown = [];
  for (const html of [args.html, args.html.replace(/<style>[^]*?<\/style>/, '')]) {
    body = html;
    await page.goto('about:blank');
    await page.goto(ADDRESS);
    shown.push(await page.evaluate(measured));
  }
  return { shown, asked };
}
