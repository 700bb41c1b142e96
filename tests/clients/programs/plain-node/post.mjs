// Posts a large body again and again with Node's http, and prints how often each status or error came back, as JSON.
// Usage: node post.mjs URL TRIES BYTES [HEADER VALUE]…
import http from "node:http";

const [url, tries, bytes, ...pairs] = process.argv.slice(2);
const body = Buffer.alloc(Number(bytes), "x");
const headers = { "content-length": body.length };
for (let at = 0; at + 1 < pairs.length; at += 2) headers[pairs[at]] = pairs[at + 1];

const post = () =>
  new Promise((resolve) => {
    const request = http.request(url, { method: "POST", headers }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(String(answer.statusCode)));
      answer.on("error", (error) => resolve(error.code));
    });
    request.on("error", (error) => resolve(error.code));
    request.end(body);
  });

const heard = {};
for (let count = 0; count < Number(tries); count += 1) {
  const end = await post();
  heard[end] = (heard[end] ?? 0) + 1;
}
console.log(JSON.stringify(heard));
process.exit(0);
