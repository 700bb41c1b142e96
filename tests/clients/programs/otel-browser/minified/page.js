// A page whose code is bundled and minified: the exception of its span names the source only through a source map.
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { WebTracerProvider } from '@opentelemetry/sdk-trace-web';

import { addToBasket } from './basket.js';

async function visit() {
  const exporter = new OTLPTraceExporter({
    url: `${given.address}/v1/traces`,
    headers: { 'X-API-Key': given.key, 'X-Axonpush-Channel': given.channel },
  });
  const provider = new WebTracerProvider({
    resource: resourceFromAttributes({ 'service.name': given.service, 'service.version': given.version }),
    spanProcessors: [new SimpleSpanProcessor(exporter)],
  });
  const span = provider.getTracer('shop').startSpan('click');
  try {
    addToBasket({ name: 'basket', items: [] }, undefined);
  } catch (error) {
    span.recordException(error);
    span.end();
    await provider.forceFlush();
    return { id: span.spanContext().traceId, stack: error.stack };
  }
}

window.visited = visit();
