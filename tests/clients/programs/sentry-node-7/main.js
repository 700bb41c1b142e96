// What version 7 of the Sentry SDK for Node sends: transactions, one envelope each. Arguments: DSN, release.
import * as Sentry from "@sentry/node";

const [dsn, release] = process.argv.slice(2);
Sentry.init({ dsn, release, environment: "staging", serverName: "till-7", tracesSampleRate: 1 });

const facts = { version: Sentry.SDK_VERSION };
Sentry.setUser({ id: "u-42", email: "ada@example.com" });
Sentry.setTag("till", "seven");
Sentry.startSession();
Sentry.startSpan({ name: "close till", op: "task" }, (root) => {
  facts.trace_id = root.spanContext().traceId;
  facts.root = root.spanContext().spanId;
  Sentry.startSpan({ name: "SELECT cart", op: "db.query" }, (child) => {
    facts.child = child.spanContext().spanId;
  });
  facts.error_id = Sentry.withScope((scope) => {
    scope.addAttachment({ data: "3 apples", filename: "cart.txt", contentType: "text/plain" });
    Sentry.addBreadcrumb({ category: "cart", message: "added 3 apples" });
    return Sentry.captureException(new TypeError("no payment of 3"));
  });
  Sentry.withMonitor("nightly-stock", () => 1, { schedule: { type: "crontab", value: "5 * * * *" } });
});
facts.message_id = Sentry.captureMessage("stock is low", "warning");
Sentry.endSession();
await Sentry.close(20000);
console.log(JSON.stringify(facts));
