// Sends one trace and two logs with @opentelemetry/sdk-node. Arguments: proto or json, the receiver's address, the API
// key, the channel and a trace id. Times and span ids are fixed, so that both encodings say the same.
import { SeverityNumber, SpanKind, SpanStatusCode, context, logs, trace } from '@opentelemetry/api';
import { OTLPLogExporter as JsonLogs } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter as ProtoLogs } from '@opentelemetry/exporter-logs-otlp-proto';
import { OTLPTraceExporter as JsonTraces } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtoTraces } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchLogRecordProcessor } from '@opentelemetry/sdk-logs';
import { NodeSDK } from '@opentelemetry/sdk-node';

const [kind, address, apiKey, channel, traceId, startMs] = process.argv.slice(2);
const [Traces, Logs] = kind === 'proto' ? [ProtoTraces, ProtoLogs] : [JsonTraces, JsonLogs];
const headers = { 'X-API-Key': apiKey, 'X-Axonpush-Channel': channel };
const options = (path) => ({ url: `${address}/v1/${path}`, headers, compression: 'gzip' });
const at = (ms) => new Date(Number(startMs) + ms);
let spans = 0;

const sdk = new NodeSDK({
  autoDetectResources: false,
  resource: resourceFromAttributes({ 'service.name': 'till-js', 'service.version': '4.5.6' }),
  idGenerator: {
    generateTraceId: () => traceId,
    generateSpanId: () => (++spans).toString(16).padStart(16, '0'),
  },
  traceExporter: new Traces(options('traces')),
  logRecordProcessors: [new BatchLogRecordProcessor({ exporter: new Logs(options('logs')) })],
});
sdk.start();

const tracer = trace.getTracer('till.http', '1.0');
const root = tracer.startSpan('POST /pay', { kind: SpanKind.SERVER, startTime: at(0) });
root.setAttributes({
  'http.request.method': 'POST',
  'http.response.status_code': 502,
  'http.route': '/pay',
  cached: false,
  ratio: 0.25,
  whole: 3,
  tags: ['a', 'b'],
  'user.id': 'u-7',
});
const inside = trace.setSpan(context.active(), root);
const child = tracer.startSpan('INSERT payment', { kind: SpanKind.CLIENT, startTime: at(2) }, inside);
child.setAttribute('db.system.name', 'postgresql');
child.recordException(Object.assign(new TypeError('card is not a function'), { stack: 'TypeError: at pay.js:1' }), at(3));
child.setStatus({ code: SpanStatusCode.ERROR, message: 'refused' });
child.end(at(5));
root.addLink({ context: { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8), traceFlags: 1 }, attributes: { why: 'retry' } });
const odd = tracer.startSpan('odd numbers', { startTime: at(6) }, inside);
odd.setAttributes({ huge: 1e21, missing: NaN });
odd.end(at(7));
root.end(at(9));

const logger = logs.getLogger('till.pay', '1.0');
const times = { timestamp: at(4), observedTimestamp: at(4) };
logger.emit({
  ...times,
  severityNumber: SeverityNumber.ERROR,
  severityText: 'ERROR',
  body: 'payment refused \u{1F4B3}',
  attributes: { sku: 'A-1', left: 3, price: 2.5, gift: true },
  context: inside,
});
logger.emit({ ...times, severityNumber: SeverityNumber.INFO, body: { items: [1, 'two', { three: 3.5 }] }, eventName: 'pay.done' });

await sdk.shutdown();
console.log(JSON.stringify({ spans }));
