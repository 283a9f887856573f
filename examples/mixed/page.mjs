// The page: one pane for each server of the cluster. What is sent in a pane goes through its server.
//
// Environment: TWINED_URLS, the nodes of twined, separated by commas; PUBLIC_URLS, the same as browsers reach them, if that is
// something else; TWINE_API_KEY, theirs.

import { readFile } from "node:fs/promises";
import { json } from "node:stream/consumers";

const { TWINED_URLS = "", PUBLIC_URLS, TWINE_API_KEY } = process.env;
const PUBLISH_TIMEOUT = 10_000; // ms

const files = { "/": ["index.html", "text/html"], "/page.js": ["page.js", "text/javascript"], "/page.css": ["page.css", "text/css"] };

class Refused extends Error {}

const list = (urls) => urls.split(",").filter(Boolean);

// page returns a handler of requests. What is sent through this server goes to emit.
export async function page(room, emit) {
  const nodes = list(TWINED_URLS);
  const servers = list(PUBLIC_URLS || TWINED_URLS).map((url, i) => ({ name: `twined-${i + 1}`, url }));
  servers.push({ name: "Node", url: "" }); // where the page is from
  const contents = {};
  for (const path in files) contents[path] = await readFile(new URL(`page/${files[path][0]}`, import.meta.url));

  async function say(message) {
    const { server, text } = message ?? {};
    if (typeof text !== "string" || !text || text.length > 500) throw new Refused("text must have 1 to 500 characters");
    if (!Number.isInteger(server) || !servers[server]) throw new Refused(`server must be 0 to ${nodes.length}`);
    if (server === nodes.length) return emit({ text });
    const response = await fetch(`${nodes[server]}/api/twine`, {
      method: "POST",
      headers: { authorization: TWINE_API_KEY, "content-type": "application/json" },
      body: JSON.stringify({ room_id: room, payload: { text, via: `twined-${server + 1}` } }),
      signal: AbortSignal.timeout(PUBLISH_TIMEOUT),
    });
    if (!response.ok) throw new Error(`twined-${server + 1} answered ${response.status}: ${await response.text()}`);
  }

  return async (request, response) => {
    const answer = (status, type, body) =>
      response.writeHead(status, { "content-type": `${type}; charset=utf-8`, "cache-control": "no-store" }).end(body);
    const path = request.url.split("?")[0];
    const route = `${request.method} ${path}`;
    if (request.method === "GET" && Object.hasOwn(files, path)) return answer(200, files[path][1], contents[path]);
    if (route === "GET /servers.json") return answer(200, "application/json", JSON.stringify({ room, servers }));
    if (route === "GET /healthz") return answer(200, "text/plain", "ok");
    if (route !== "POST /say") return answer(404, "text/plain", "not found");
    // A page of another site cannot send this type without asking first.
    if (request.headers["content-type"] !== "application/json") return answer(415, "text/plain", "want application/json");
    if (!(Number(request.headers["content-length"]) <= 10_000)) return answer(413, "text/plain", "want at most 10 kB");
    try {
      await say(await json(request));
      response.writeHead(204).end();
    } catch (error) {
      const status = error instanceof Refused || error instanceof SyntaxError ? 400 : 502;
      answer(status, "text/plain", [error.message, error.cause?.message].filter(Boolean).join(": "));
    }
  };
}
