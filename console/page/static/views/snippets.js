// A few lines for each of the usual SDKs, with the address of a project.
export const SNIPPETS = {
  python: (dsn) => `# pip install sentry-sdk
import sentry_sdk
sentry_sdk.init(dsn="${dsn}")
sentry_sdk.capture_exception(ValueError("hello"))
`,
  node: (dsn) => `// npm install @sentry/node
import * as Sentry from "@sentry/node";
Sentry.init({ dsn: "${dsn}" });
Sentry.captureException(new Error("hello"));
`,
  browser: (dsn) => `// npm install @sentry/browser
import * as Sentry from "@sentry/browser";
Sentry.init({ dsn: "${dsn}" });
Sentry.captureException(new Error("hello"));
`,
  go: (dsn) => `// go get github.com/getsentry/sentry-go
sentry.Init(sentry.ClientOptions{Dsn: "${dsn}"})
sentry.CaptureException(errors.New("hello"))
sentry.Flush(2 * time.Second)
`,
  java: (dsn) => `// io.sentry:sentry
Sentry.init(options -> options.setDsn("${dsn}"));
Sentry.captureException(new RuntimeException("hello"));
`,
  opentelemetry: (dsn) => {
    const { origin, pathname, username } = new URL(dsn);
    return `export OTEL_EXPORTER_OTLP_ENDPOINT=${origin}
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
export OTEL_EXPORTER_OTLP_HEADERS="x-api-key=${username},x-axonpush-channel=${pathname.split("/").pop()}"
`;
  },
  curl: (dsn) => {
    const { origin, pathname, username } = new URL(dsn);
    return `curl '${origin}/api${pathname}/store/?sentry_key=${username}' \\
  --header 'content-type: application/json' --data '{"exception": {"values": [{"type": "Hello", "value": "from curl"}]}}'
`;
  },
};

export const SNIPPET_WORDS = { python: "Python", node: "Node", browser: "Browser", go: "Go", java: "Java", opentelemetry: "OpenTelemetry", curl: "curl" };
