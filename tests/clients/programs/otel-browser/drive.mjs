// Opens a page in headless Chromium and waits for `window.finished`. Arguments: the browser, an empty profile folder, the
// page's address. Prints `finished` and the requests that left the page, preflights among them.
import { chromium } from 'playwright-core';

const [executablePath, profile, page_url] = process.argv.slice(2);
const browser = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
try {
  const page = await browser.newPage();
  const network = await browser.newCDPSession(page);
  const requests = new Map();
  network.on('Network.requestWillBeSent', ({ requestId, request, type }) => {
    requests.set(requestId, { type, method: request.method, url: request.url });
  });
  network.on('Network.responseReceived', ({ requestId, response }) => {
    Object.assign(requests.get(requestId) ?? {}, { status: response.status });
  });
  await network.send('Network.enable');
  await page.goto(page_url);
  const finished = await page.waitForFunction(() => window.finished, null, { timeout: 30000 });
  console.log(JSON.stringify({ ...(await finished.jsonValue()), requests: [...requests.values()] }));
} finally {
  await browser.close();
}
