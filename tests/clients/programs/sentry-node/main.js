// One program of a user: everything the current Sentry SDK for Node sends. Arguments: DSN, release.
import * as Sentry from "@sentry/node";

const [dsn, release] = process.argv.slice(2);
Sentry.init({
  dsn,
  release,
  environment: "staging",
  serverName: "till-7",
  tracesSampleRate: 1,
  enableLogs: true,
});

class PaymentRefused extends Error {
  name = "PaymentRefused";
}

function sendError() {
  return Sentry.withScope((scope) => {
    scope.setTag("till", "seven");
    scope.setContext("cart", { items: 3 });
    scope.addAttachment({ data: "3 apples", filename: "cart.txt", contentType: "text/plain" });
    Sentry.addBreadcrumb({ category: "cart", message: "added 3 apples", level: "info" });
    return Sentry.captureException(new PaymentRefused("no payment of 3", { cause: new Error("card expired") }));
  });
}

function sendMetrics() {
  Sentry.metrics.count("cart.added", 3, { attributes: { shop: "A" } });
  Sentry.metrics.gauge("queue.length", 7);
  Sentry.metrics.distribution("page.load", 12.5, { unit: "millisecond" });
}

const config = {
  schedule: { type: "interval", value: 1, unit: "day" },
  checkinMargin: 10,
  maxRuntime: 20,
  timezone: "Europe/Rome",
};

const facts = { version: Sentry.SDK_VERSION };
Sentry.setUser({ id: "u-42", email: "ada@example.com", username: "ada" });
Sentry.startSession();
Sentry.startSpan({ name: "close till", op: "task", attributes: { "cart.items": 3 } }, (root) => {
  facts.trace_id = root.spanContext().traceId;
  facts.root = root.spanContext().spanId;
  Sentry.startSpan({ name: "SELECT cart", op: "db.query" }, (child) => {
    facts.child = child.spanContext().spanId;
    Sentry.logger.warn(Sentry.logger.fmt`stock is low: ${2}`, { sku: "A-1" });
  });
  sendMetrics();
  facts.error_id = sendError();
  Sentry.withMonitor("nightly-stock", () => 1, config);
});
facts.feedback_id = Sentry.captureFeedback({
  message: "the till is slow",
  name: "Ada",
  email: "ada@example.com",
  associatedEventId: facts.error_id,
});
Sentry.endSession();
await Sentry.close(20000);
console.log(JSON.stringify(facts));
