import io.sentry.Attachment;
import io.sentry.Breadcrumb;
import io.sentry.ITransaction;
import io.sentry.MonitorConfig;
import io.sentry.MonitorSchedule;
import io.sentry.Sentry;
import io.sentry.SentryAttribute;
import io.sentry.SentryAttributes;
import io.sentry.SentryLogLevel;
import io.sentry.SpanStatus;
import io.sentry.TransactionOptions;
import io.sentry.logger.SentryLogParameters;
import io.sentry.metrics.SentryMetricsParameters;
import io.sentry.protocol.Feedback;
import io.sentry.protocol.SentryId;
import io.sentry.protocol.User;
import io.sentry.util.CheckInUtils;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.AtomicReference;

/** One program of a user: what the Sentry SDK for Java sends. Arguments: DSN, release. */
public final class Shop {
  private static SentryId captureError() {
    Sentry.addBreadcrumb(new Breadcrumb("added 3 apples"));
    var cause = new IllegalArgumentException("card expired");
    var error = new IllegalStateException("no payment of 3", cause);
    return Sentry.captureException(error, scope -> {
      scope.setTag("till", "seven");
      scope.addAttachment(new Attachment("3 apples".getBytes(StandardCharsets.UTF_8), "cart.txt", "text/plain"));
    });
  }

  private static void checkIn() throws Exception {
    var config = new MonitorConfig(MonitorSchedule.crontab("5 * * * *"));
    config.setCheckinMargin(10L);
    config.setMaxRuntime(20L);
    config.setTimezone("Europe/Rome");
    CheckInUtils.withCheckIn("nightly-stock", config, () -> null);
  }

  private static void measure() {
    var shop = SentryMetricsParameters.create(SentryAttributes.of(SentryAttribute.stringAttribute("shop", "A")));
    Sentry.metrics().count("cart.added", 3.0, null, shop);
    Sentry.metrics().gauge("queue.length", 7.0);
    Sentry.metrics().distribution("page.load", 12.5, "millisecond");
  }

  private static SentryId feedback(SentryId about) {
    var said = new Feedback("the till is slow");
    said.setName("Ada");
    said.setContactEmail("ada@example.com");
    said.setAssociatedEventId(about);
    return Sentry.feedback().capture(said);
  }

  private static User user() {
    var user = new User();
    user.setId("u-42");
    user.setEmail("ada@example.com");
    user.setUsername("ada");
    return user;
  }

  private static String shop() throws Exception {
    Sentry.setUser(user());
    Sentry.startSession();
    var options = new TransactionOptions();
    options.setBindToScope(true);
    ITransaction root = Sentry.startTransaction("close till", "task", options);
    var child = root.startChild("db.query", "SELECT cart");
    try (var ignored = child.makeCurrent()) {
      var sku = SentryAttributes.of(SentryAttribute.stringAttribute("sku", "A-1"));
      Sentry.logger().log(SentryLogLevel.WARN, SentryLogParameters.create(sku), "stock is low: %d", 2);
    }
    child.finish();
    measure();
    SentryId error = captureError();
    SentryId feedback = feedback(error);
    checkIn();
    root.finish(SpanStatus.OK);
    Sentry.endSession();
    var context = root.getSpanContext();
    return String.format(
        "{\"error_id\": \"%s\", \"feedback_id\": \"%s\", \"trace_id\": \"%s\", \"root\": \"%s\", \"child\": \"%s\"",
        error, feedback, context.getTraceId(), context.getSpanId(), child.getSpanContext().getSpanId());
  }

  public static void main(String[] arguments) throws Exception {
    var version = new AtomicReference<String>();
    Sentry.init(options -> {
      options.setDsn(arguments[0]);
      options.setRelease(arguments[1]);
      options.setEnvironment("staging");
      options.setServerName("till-7");
      options.setTracesSampleRate(1.0);
      options.setSendDefaultPii(true);
      options.setDistinctId("u-42");
      options.getLogs().setEnabled(true);
      version.set(options.getSdkVersion().getVersion());
    });
    String said = shop();
    Sentry.flush(20_000);
    Sentry.close();
    System.out.println(said + ", \"version\": \"" + version + "\"}");
  }
}
