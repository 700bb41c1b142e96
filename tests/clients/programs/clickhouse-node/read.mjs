// Reads with the client's defaults, then with both bodies compressed; prints what came of it as JSON.
import { createClient } from '@clickhouse/client'

const [url, username, password, trace] = process.argv.slice(2)

async function read(compression) {
  const client = createClient({ url, username, password, database: 'axonpush', compression })
  try {
    const spans = await client.query({
      query: 'SELECT SpanName AS name FROM otel_traces WHERE TraceId = {trace:String} ORDER BY Timestamp',
      query_params: { trace },
      format: 'JSONEachRow',
    })
    const names = (await spans.json()).map((row) => row.name)
    let rows = 0
    const many = await client.query({ query: 'SELECT number FROM numbers(300000)', format: 'JSONCompactEachRow' })
    for await (const part of many.stream()) rows += part.length
    const error = await client.query({ query: 'SELECT no_such_column FROM otel_traces' }).catch((found) => found)
    return { names, rows, error: `${error.code} ${error.message}`, ping: (await client.ping()).success }
  } finally {
    await client.close()
  }
}

console.log(JSON.stringify({ plain: await read(undefined), compressed: await read({ request: true, response: true }) }))
