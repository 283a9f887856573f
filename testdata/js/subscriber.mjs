// Connects an unchanged socket.io-client and reports what happens to it, one JSON array a line: first the name of the
// event, then its arguments.
//
//   node subscriber.mjs URL '{"package": "socket.io-client", "options": {...}, "rooms": ["..."]}'
//
// It subscribes to the rooms each time that it connects; with "once": true, the first time only.
//
// Lines on standard input are emitted in the same form. The end of standard input ends the program.

import { createInterface } from "node:readline";

const [url, settings] = process.argv.slice(2);
const { package: client, options, rooms, once } = JSON.parse(settings);
const { io } = await import(client);

const report = (...line) => process.stdout.write(JSON.stringify(line) + "\n");
const socket = io(url, options);

// Here and not in "connect", which an upgrade may overtake.
socket.io.on("open", () => {
  const engine = socket.io.engine;
  report("open", engine.transport.name);
  engine.on("upgrade", (transport) => report("upgrade", transport.name));
});
socket.on("connect", () => {
  report("connect", socket.id, socket.recovered);
  for (const room of rooms) socket.emit("subscribe", room);
  if (once) rooms.length = 0;
});
socket.on("connect_error", (error) => report("connect_error", error.message));
socket.on("disconnect", (reason) => report("disconnect", reason));
socket.onAny((...event) => report(...event));

const input = createInterface({ input: process.stdin });
input.on("line", (line) => socket.emit(...JSON.parse(line)));
input.on("close", () => process.exit(0));
