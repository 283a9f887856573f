// The cluster's server of Node: socket.io with the Redis Streams adapter, as it would be without Twine, but for maxLen below. It
// also serves the page, which connects to all servers of the cluster.
//
// Environment: LISTEN, its address; REDIS_URL; EVERY_MS, how often it emits something by itself; and what page.mjs needs.
// It ends with status 0 on SIGTERM or SIGINT.

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";
import { page } from "./page.mjs";

const { LISTEN = "127.0.0.1:8084", REDIS_URL, EVERY_MS = "3000" } = process.env;
const ROOM = "lobby";

const redis = createClient({ url: REDIS_URL });
redis.on("error", (error) => console.error(`redis: ${error.message || error.code}`));
await redis.connect();

const io = new Server({
  // Each server cuts the stream that they share. By default this adapter leaves 10,000 entries, which would be the whole
  // history that twined's clients are brought up to date from. twined cuts it by age.
  adapter: createAdapter(redis, { maxLen: 1_000_000_000 }),
  connectionStateRecovery: {},
});

// The same events as twined's.
io.on("connection", (socket) => {
  socket.on("subscribe", (room) => {
    if (typeof room !== "string" || room === "") return;
    socket.join(room);
    socket.emit("roomJoined", `You have joined room: ${room}`);
  });
});

// What is emitted here reaches the clients of all servers that are in the room.
const emit = (message) => io.to(ROOM).emit("message", { ...message, via: "Node", room: ROOM, timestamp: Date.now() });

let count = 0;
const timer = setInterval(() => emit({ text: `tick ${++count}` }), Number(EVERY_MS));

const http = createServer(await page(ROOM, emit));
io.attach(http);

const [, host, port] = LISTEN.match(/^\[?(.*?)\]?:(\d+)$/);
http.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
http.listen(Number(port), host, () => {
  const { address, family, port } = http.address();
  console.log(`listening on ${family === "IPv6" ? `[${address}]` : address}:${port}`);
});

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, () => {
    clearInterval(timer);
    io.close(() => process.exit(0));
    http.closeAllConnections();
  });
}
