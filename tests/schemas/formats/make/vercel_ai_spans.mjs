// Fixtures out of Vercel's AI SDK: real spans of calls whose HTTP answers are made here.
// In a folder that has `ai`, `@ai-sdk/openai`, `@ai-sdk/anthropic`, `@opentelemetry/sdk-trace-base`,
// `@opentelemetry/otlp-transformer` and `@opentelemetry/resources`:
//   NODE_PATH is not read by modules, so copy this file there and run
//   node vercel_ai_spans.mjs FIXTURES_FOLDER vercel_v6
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { JsonTraceSerializer } from "@opentelemetry/otlp-transformer";
import * as resources from "@opentelemetry/resources";
import * as sdk from "@opentelemetry/sdk-trace-base";
import * as ai from "ai";

const [folder, name] = process.argv.slice(2);
const { InMemorySpanExporter, SimpleSpanProcessor, BasicTracerProvider } = sdk;
const exporter = new InMemorySpanExporter();
const resource = resources.resourceFromAttributes
  ? resources.resourceFromAttributes({ "service.name": "shop" })
  : new resources.Resource({ "service.name": "shop" });
let made = 0;
const ids = {
  generateTraceId: () => `abcdef${String(++made).padStart(26, "0")}`,
  generateSpanId: () => `abcdef${String(++made).padStart(10, "0")}`,
};
const provider = new BasicTracerProvider({
  resource,
  idGenerator: ids,
  spanProcessors: [new SimpleSpanProcessor(exporter)],
});
const experimental_telemetry = {
  isEnabled: true,
  recordInputs: false,
  recordOutputs: false,
  functionId: "greet",
  metadata: { userId: "u-1" },
  tracer: provider.getTracer("ai"),
};

const json = (body) => async () =>
  new Response(JSON.stringify(body), { headers: { "content-type": "application/json" } });
const lines = (events) => async () =>
  new Response(events.map((e) => `event: ${e.type}\ndata: ${JSON.stringify(e)}\n\n`).join(""), {
    headers: { "content-type": "text/event-stream" },
  });

const chat = {
  id: "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
  object: "chat.completion",
  created: 1770544800,
  model: "gpt-4o-mini-2024-07-18",
  choices: [
    { index: 0, message: { role: "assistant", content: "secret" }, finish_reason: "stop" },
  ],
  usage: {
    prompt_tokens: 1500,
    completion_tokens: 180,
    total_tokens: 1680,
    prompt_tokens_details: { cached_tokens: 1024 },
    completion_tokens_details: { reasoning_tokens: 64 },
  },
};
const usage = {
  input_tokens: 21,
  cache_creation_input_tokens: 188,
  cache_read_input_tokens: 1800,
  output_tokens: 393,
};
const message = {
  id: "msg_013Zva2CMHLNnXjNJJKqJ2EF",
  type: "message",
  role: "assistant",
  model: "claude-sonnet-4-5-20250929",
  content: [{ type: "text", text: "secret" }],
  stop_reason: "end_turn",
  stop_sequence: null,
  usage,
};
const stream = [
  { type: "message_start", message: { ...message, id: "msg_01Streamed7cMHLNnXjNJJKqJ2", content: [], usage: { ...usage, output_tokens: 1 } } },
  { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
  { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "secret" } },
  { type: "content_block_stop", index: 0 },
  {
    type: "message_delta",
    delta: { stop_reason: "end_turn", stop_sequence: null },
    usage: { output_tokens: 393 },
  },
  { type: "message_stop" },
];
const embedding = {
  object: "list",
  data: [{ object: "embedding", index: 0, embedding: [0.1, 0.2] }],
  model: "text-embedding-3-small",
  usage: { prompt_tokens: 8, total_tokens: 8 },
};

const openai = (fetch) => createOpenAI({ apiKey: "x", fetch });
const anthropic = (fetch) => createAnthropic({ apiKey: "x", fetch });
const prompt = "secret";

await ai.generateText({ model: openai(json(chat)).chat("gpt-4o-mini"), prompt, experimental_telemetry });
await ai.generateText({
  model: anthropic(json(message))("claude-sonnet-4-5"),
  prompt,
  experimental_telemetry,
});
const streamed = ai.streamText({
  model: anthropic(lines(stream))("claude-sonnet-4-5"),
  prompt,
  experimental_telemetry,
});
for await (const _ of streamed.textStream);
const model = openai(json(embedding)).embedding("text-embedding-3-small");
await ai.embed({ model, value: prompt, experimental_telemetry });

// The same times and no content: fixtures only change where the library does.
const body = JSON.parse(
  new TextDecoder().decode(JsonTraceSerializer.serializeRequest(exporter.getFinishedSpans())),
);
let at = 0;
for (const scope of body.resourceSpans[0].scopeSpans)
  for (const span of scope.spans) {
    const start = 1770544800n * 10n ** 9n + BigInt(at++) * 10n ** 9n;
    span.startTimeUnixNano = String(start);
    span.endTimeUnixNano = String(start + 850_500_000n);
    span.events = [];
    const timed = /ms(To|Per)|avg|timestamp/;
    span.attributes = span.attributes.filter((one) => !timed.test(one.key));
  }
const sorted = (value) =>
  Array.isArray(value)
    ? value.map(sorted)
    : value && typeof value === "object"
      ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]))
      : value;
const version = JSON.parse(readFileSync("node_modules/ai/package.json", "utf8")).version;
mkdirSync(`${folder}/otel`, { recursive: true });
const text = JSON.stringify(sorted({ made_by: `ai ${version}`, body }), null, 1);
writeFileSync(`${folder}/otel/${name}.json`, `${text}\n`);
