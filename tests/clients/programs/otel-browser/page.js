// The page's own script, bundled by esbuild: one span to the receiver named in the address bar, then what came of it.
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { WebTracerProvider } from '@opentelemetry/sdk-trace-web';

const asked = new URLSearchParams(location.search);
const exporter = new OTLPTraceExporter({
  url: `${asked.get('address')}/v1/traces`,
  headers: { 'X-API-Key': asked.get('token'), 'X-Axonpush-Channel': asked.get('channel') },
  timeoutMillis: 5000,
});
const results = [];
const recording = {
  export: (spans, done) =>
    exporter.export(spans, (result) => {
      results.push({ code: result.code, error: result.error ? String(result.error) : '' });
      done(result);
    }),
  forceFlush: () => exporter.forceFlush(),
  shutdown: () => exporter.shutdown(),
};
const provider = new WebTracerProvider({
  resource: resourceFromAttributes({ 'service.name': 'shop-web' }),
  spanProcessors: [new SimpleSpanProcessor(recording)],
});
const span = provider.getTracer('shop.page', '1.0').startSpan('click buy', {
  attributes: { 'url.full': location.origin + location.pathname, 'session.id': 's-1' },
});
span.end();
await provider.forceFlush().catch(() => undefined); // what failed is in `results`
window.finished = { trace_id: span.spanContext().traceId, span_id: span.spanContext().spanId, results };
