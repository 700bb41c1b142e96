// A headless Chromium that does what lines of JSON on its input say, one answer a line: {method, ...} -> {result} or
// {error}. Argument: the path of Chromium. Everything that breaks the page's policy, fails, or leaves its origin is noted.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { chromium } from "playwright-core";

const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const AXE = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const TIMEOUT_MS = 15000;

const browser = await chromium.launch({ executablePath: process.argv[2], headless: true, args: ARGUMENTS });
let page = null;
let noted = null;

const methods = {
  async open({ width, height, dark = false, bypass = false, origin, reduced = true }) {
    await page?.context().close();
    noted = { violations: [], errors: [], foreign: [], failed: [], bytes: 0, requests: [] };
    const context = await browser.newContext({
      viewport: { width, height },
      colorScheme: dark ? "dark" : "light",
      bypassCSP: bypass,
      reducedMotion: reduced ? "reduce" : "no-preference",
    });
    await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin });
    page = await context.newPage();
    page.setDefaultTimeout(TIMEOUT_MS);
    page.on("pageerror", (error) => noted.errors.push(String(error.stack ?? error)));
    page.on("console", (message) => {
      const text = message.text();
      if (/Content Security Policy|TrustedHTML|TrustedScript/i.test(text)) noted.violations.push(text);
      else if (message.type() === "error" && !/status of (4|5)\d\d/.test(text)) noted.errors.push(text);
    });
    page.on("request", (request) => {
      noted.requests.push(`${request.method()} ${new URL(request.url()).pathname}`);
      if (!request.url().startsWith(`${origin}/`) && !request.url().startsWith("data:")) noted.foreign.push(request.url());
    });
    page.on("response", (response) => response.status() >= 500 && noted.failed.push(`${response.status()} ${response.url()}`));
    const network = await context.newCDPSession(page);
    await network.send("Network.enable");
    network.on("Network.loadingFinished", ({ encodedDataLength }) => (noted.bytes += encodedDataLength));
  },
  goto: ({ url }) => page.goto(url).then(() => null),
  click: ({ selector }) => page.locator(selector).first().click(),
  fill: ({ selector, text }) => page.locator(selector).first().fill(text),
  choose: ({ selector, value }) => page.locator(selector).first().selectOption(value),
  press: ({ key }) => page.keyboard.press(key),
  wait: ({ selector, gone = false }) => page.locator(selector).first().waitFor({ state: gone ? "detached" : "visible" }),
  // Asked again and again from outside: the page's policy forbids what waitForFunction does inside.
  async waitFor({ script }) {
    const deadline = Date.now() + TIMEOUT_MS;
    while (!(await page.evaluate(script).catch(() => false))) {
      if (Date.now() > deadline) throw new Error(`not true within ${TIMEOUT_MS} ms`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  },
  text: ({ selector }) => page.locator(selector).first().innerText(),
  count: ({ selector }) => page.locator(selector).count(),
  evaluate: ({ script }) => page.evaluate(script),
  url: () => page.url(),
  back: () => page.goBack().then(() => null),
  reload: () => page.reload().then(() => null),
  cookies: () => page.context().cookies(),
  addCookies: ({ cookies }) => page.context().addCookies(cookies),
  clearCookies: () => page.context().clearCookies(),
  route: ({ pattern, status, body }) => page.route(pattern, (route) => (status ? route.fulfill({ status, contentType: "application/json", body }) : route.abort())),
  unroute: ({ pattern }) => page.unroute(pattern),
  screenshot: ({ path, full = false }) => page.screenshot({ path, fullPage: full }).then(() => null),
  noted: () => noted,
  forgetFailed: () => (noted.failed = []),
  async axe() {
    if (!(await page.evaluate("Boolean(window.axe)"))) await page.evaluate(AXE);
    const found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
    return found.violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.slice(0, 3).map(({ target, failureSummary }) => `${target} ${failureSummary}`) }));
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { method, ...given } = JSON.parse(line);
  let answer;
  try {
    answer = { result: (await methods[method](given)) ?? null };
  } catch (error) {
    answer = { error: String(error.message ?? error) };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
