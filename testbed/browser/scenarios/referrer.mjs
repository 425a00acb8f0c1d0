// Somebody whose link was mangled, so that its token is in the path of the page itself: which requests name the page that they
// come from. args: {link, code}. Gives their referrers, how many were looked at, and that of a page which does send it.
export default async function referrer({ page, context, args, press, state }) {
  const [base, token] = args.link.split('#');
  const seen = [];
  context.on('request', (request) => seen.push(request));
  await page.goto(`${base}%23${token}`);
  await state('ask');
  await page.getByTestId('code').fill(args.code);
  await press(page.getByTestId('open'));
  await state('opened');
  const headers = await Promise.all(seen.map((request) => request.allHeaders()));
  const referrers = headers.flatMap(({ referer }) => (referer === undefined ? [] : [referer]));
  const address = page.url();

  // A page as ours must not be: so it is seen that referrers are seen.
  const body = '<!doctype html><meta name="referrer" content="unsafe-url"><img src="picture.png">';
  await page.route(`${base}careless`, (route) => route.fulfill({ contentType: 'text/html', body }));
  const picture = page.waitForRequest(`${base}picture.png`);
  await page.goto(`${base}careless`);
  const careless = (await (await picture).allHeaders()).referer;
  return { looked: seen.length, referrers, address, careless };
}
