// Asks a model with Vercel's AI SDK, its telemetry on: an agent with a tool, and an embedding. Arguments: the address of
// the model, the id of a trace. What is sent goes where OTEL_* variables say.
import { createOpenAI } from '@ai-sdk/openai';
import { context, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import { embed, generateText, jsonSchema, stepCountIs, tool } from 'ai';

const [baseURL, traceId] = process.argv.slice(2);
const provider = new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())] });
provider.register();

const openai = createOpenAI({ baseURL, apiKey: 'none' });
const experimental_telemetry = { isEnabled: true, functionId: 'clerk' };
const stock = tool({
  description: 'How many pieces of an article are left.',
  inputSchema: jsonSchema({ type: 'object', properties: { sku: { type: 'string' } } }),
  execute: async ({ sku }) => `3 of ${sku}`,
});

async function ask() {
  const answer = await generateText({
    model: openai.chat('gpt-4o-mini'),
    prompt: 'How many apples are left?',
    tools: { stock },
    stopWhen: stepCountIs(3),
    maxRetries: 0,
    experimental_telemetry,
  });
  await embed({ model: openai.embedding('text-embedding-3-small'), value: 'apples', maxRetries: 0, experimental_telemetry });
  return answer.text;
}

const caller = { traceId, spanId: '000000000000000a', traceFlags: 1, isRemote: true };
const text = await context.with(trace.setSpanContext(context.active(), caller), ask);
await provider.shutdown();
console.log(JSON.stringify({ text }));
