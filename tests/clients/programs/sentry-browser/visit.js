// Visits pages in headless Chromium, one after the other. Argument: {chromium, visits: [{url, given} or {url, reports}]}
// as JSON. Prints for each what its script says it sent (`facts`), and what the browser asked of other origins.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { buildSync } from "esbuild";
import { chromium } from "playwright-core";

const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--ignore-certificate-errors",
  "--short-reporting-delay",
];
const ANSWER_TIMEOUT_MS = 10000;
const REPORT_TIMEOUT_MS = 20000;

// Every request to another origin, preflights included, with the status of its answer.
function watch(network, own) {
  const requests = new Map();
  network.on("Network.requestWillBeSent", ({ requestId, request, type }) => {
    if (new URL(request.url).origin !== own) {
      requests.set(requestId, { method: request.method, url: request.url, type, status: null });
    }
  });
  network.on("Network.responseReceived", ({ requestId, response }) => {
    if (requests.has(requestId)) {
      requests.get(requestId).status = response.status;
    }
  });
  return requests;
}

// Until every request has its answer.
async function settled(requests) {
  const deadline = Date.now() + ANSWER_TIMEOUT_MS;
  while ([...requests.values()].some(({ status }) => status === null) && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// Until the browser itself has reported: at once to a report-uri, after a while to a report-to, each with an answer.
function reported(network, requests) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("the browser sent no report")), REPORT_TIMEOUT_MS);
    const done = (how) => {
      clearTimeout(late);
      resolve({ how });
    };
    network.on("Network.responseReceived", ({ requestId }) => requests.has(requestId) && done("report-uri"));
    network.on("Network.reportingApiReportUpdated", ({ report }) => report.status === "Success" && done("report-to"));
  });
}

async function visit(context, { url, given, reports }) {
  const page = await context.newPage();
  try {
    const network = await context.newCDPSession(page);
    await network.send("Network.enable");
    await network.send("Network.enableReportingApi", { enable: true });
    const requests = watch(network, new URL(url).origin);
    const report = reports ? reported(network, requests) : null;
    await page.addInitScript((value) => (window.given = value), given ?? {});
    await page.goto(url);
    const facts = await (report ?? page.evaluate(() => window.visited));
    await settled(requests);
    return { facts, requests: [...requests.values()] };
  } finally {
    await page.close();
  }
}

const asked = JSON.parse(process.argv[2]);
buildSync({ entryPoints: ["bundle.js"], bundle: true, format: "iife", globalName: "Sentry", outfile: "site/sentry.js" });
const profile = mkdtempSync(join(tmpdir(), "chromium-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: asked.chromium,
  headless: true,
  args: ARGUMENTS,
});
try {
  const found = [];
  for (const one of asked.visits) {
    found.push(await visit(context, one));
  }
  console.log(JSON.stringify(found));
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
