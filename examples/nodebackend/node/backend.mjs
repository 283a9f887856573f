// A backend in Node that tells where a courier is, with the unchanged twine-server-library. It also serves a page that
// listens with the unchanged twine-client-library.
//
// Environment: TWINE_URL and TWINE_KEY of the daemon, LISTEN_HOST and LISTEN_PORT of this backend. It ends with its standard
// input.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import TwineServerLibrary from "twine-server-library";

const { TWINE_URL, TWINE_KEY, LISTEN_HOST = "127.0.0.1", LISTEN_PORT = "8083" } = process.env;
const ROOM = "courier 7";
const stops = ["the bakery", "Mill Lane", "the old bridge", "Market Square", "your street", "your door"];

const twine = new TwineServerLibrary(TWINE_URL, TWINE_KEY);

const here = new URL(".", import.meta.url);
const page = (await readFile(new URL("page.html", here), "utf8")).replace("{{TWINE}}", TWINE_URL).replace("{{ROOM}}", ROOM);
// A browser can load the client library as it is: the page's import map says where socket.io-client is.
const modules = {
  "/modules/twine-client-library.js": "node_modules/twine-client-library/dist/index.js",
  "/modules/socket.io-client.js": "node_modules/socket.io-client/dist/socket.io.esm.min.js",
};

const server = createServer(async (request, response) => {
  if (request.method === "POST" && request.url === "/ring") {
    await twine.publish(ROOM, { text: "The courier's phone is ringing" });
    response.writeHead(204).end();
  } else if (request.method === "GET" && request.url === "/") {
    response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end(page);
  } else if (request.method === "GET" && modules[request.url]) {
    const module = await readFile(new URL(modules[request.url], here));
    response.writeHead(200, { "Content-Type": "text/javascript; charset=utf-8" }).end(module);
  } else {
    response.writeHead(404, { "Content-Type": "text/plain" }).end("not found");
  }
});
server.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
server.listen(Number(LISTEN_PORT), LISTEN_HOST, () => {
  const { address, port } = server.address();
  console.log(`Courier at http://${address}:${port}/`);
});

let stop = 0;
setInterval(() => twine.publish(ROOM, { text: `The courier is at ${stops[stop++ % stops.length]}` }), 2000);

process.stdin.resume().on("end", () => process.exit(0));
