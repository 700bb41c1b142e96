// The page's own code: each function is one kind of visit. `given`, which the browser brings along, names it.
const base = { dsn: given.dsn, release: given.release, environment: "staging", sampleRate: 1 };

async function everything() {
  Sentry.init({
    ...base,
    integrations: [Sentry.browserTracingIntegration(), Sentry.feedbackIntegration({ autoInject: false })],
    tracesSampleRate: 1,
    enableLogs: true,
    tracePropagationTargets: [location.origin],
  });
  const facts = { version: Sentry.SDK_VERSION };
  Sentry.setUser({ id: "u-42", email: "ada@example.com", username: "ada" });
  await Sentry.startSpan({ name: "pay", op: "ui.action", parentSpan: null }, async (root) => {
    facts.trace_id = root.spanContext().traceId;
    facts.root = root.spanContext().spanId;
    await Sentry.startSpan({ name: "checkout", op: "task" }, async (child) => {
      facts.child = child.spanContext().spanId;
      await fetch("/checkout");
    });
    Sentry.logger.warn("stock is low", { sku: "A-1" });
    Sentry.metrics.count("cart.added", 3);
    Sentry.addBreadcrumb({ category: "cart", message: "added 3 apples" });
    facts.error_id = Sentry.withScope((scope) => {
      scope.setTag("till", "seven");
      scope.addAttachment({ data: "3 apples", filename: "cart.txt", contentType: "text/plain" });
      return Sentry.captureException(new TypeError("no payment of 3"));
    });
  });
  facts.feedback_id = await Sentry.sendFeedback({
    name: "Ada",
    email: "ada@example.com",
    message: "the shop is slow",
    associatedEventId: facts.error_id,
  });
  return facts;
}

// The recorder takes its first picture once the page has loaded, and a flush before it sends nothing: flush until it went.
async function replayed() {
  let sent = 0;
  const transport = (options) => {
    const made = Sentry.makeFetchTransport(options);
    return { ...made, send: (envelope) => made.send(envelope).finally(() => (sent += 1)) };
  };
  const replay = Sentry.replayIntegration({ useCompression: false, minReplayDuration: 0 });
  Sentry.init({ ...base, transport, integrations: [replay], replaysSessionSampleRate: 1 });
  for (const end = Date.now() + 20000; sent === 0 && Date.now() < end; ) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    await replay.flush();
  }
  return { replay_id: replay.getReplayId() };
}

async function message() {
  Sentry.init(base);
  return { message_id: Sentry.captureMessage("a visit") };
}

async function tunnelled() {
  Sentry.init({ ...base, tunnel: given.tunnel });
  return { message_id: Sentry.captureMessage("through a tunnel") };
}

// A header of its own makes the browser ask first.
async function preflighted() {
  Sentry.init({ ...base, transportOptions: { headers: { "X-Requested-With": "shop" } } });
  return { message_id: Sentry.captureMessage("after a preflight") };
}

// What customer data platforms do in device mode with the settings of their Sentry destination, on load and on identify.
async function deviceMode() {
  Sentry.init({ ...base, serverName: "till-7", logger: "storefront", debug: false });
  Sentry.addEventProcessor((event) => ({ ...event, server_name: "till-7" }));
  Sentry.setTag("logger", "storefront");
  Sentry.setTag("serverName", "till-7");
  Sentry.setUser({ id: "u-42", email: "ada@example.com", username: "ada", plan: "gold" });
  return { error_id: Sentry.captureException(new Error("no payment of 3")) };
}

const visits = { everything, replayed, message, tunnelled, preflighted, deviceMode };
window.visited = (async () => {
  const facts = await visits[given.visit]();
  await Sentry.flush(20000);
  return facts;
})();
