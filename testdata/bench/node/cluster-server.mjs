// A node of the reference cluster of the benchmark (cmd/twinebench): socket.io with its Redis Streams adapter, both with
// their defaults, every socket in one room.
//
//   node --expose-gc cluster-server.mjs REDIS_URL
//
// It takes one command a line on standard input and answers each with a line of JSON; it ends when standard input does.
//
//   stats             CPU used so far and what this node holds
//   emit COUNT SIZE   sends COUNT messages of SIZE characters to the room of all nodes, back to back
//   collect           collects garbage (needs --expose-gc)

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { Server } from "socket.io";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";

const require = createRequire(import.meta.url);
const { version } = require("socket.io/package.json");
const adapter = require("./node_modules/@socket.io/redis-streams-adapter/package.json");
const room = "bench";
let next = 1; // number of the next message

const redis = createClient({ url: process.argv[2] });
redis.on("error", (error) => console.error("redis:", error.message));
await redis.connect();

const http = createServer();
const io = new Server(http, { adapter: createAdapter(redis) });
io.on("connection", (socket) => {
  socket.join(room);
});

function stats() {
  const { user, system } = process.cpuUsage();
  return { cpu_us: user + system, joined: io.of("/").adapter.rooms.get(room)?.size ?? 0, next };
}

const commands = {
  stats,
  emit(count, size) {
    for (let i = 0; i < count; i++, next++) {
      // The number comes first, so that the receiver can check the order.
      io.to(room).emit("m", String(next).padStart(10, "0").padEnd(Number(size), "."));
    }
    return stats();
  },
  collect() {
    gc();
    gc();
    return stats();
  },
};

const answer = (value) => process.stdout.write(JSON.stringify(value) + "\n");

http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  const name = `socket.io ${version} with redis-streams-adapter ${adapter.version}, Node ${process.version}`;
  answer({ name, port: http.address().port });
  createInterface({ input: process.stdin })
    .on("line", (line) => {
      const [name, ...args] = line.split(" ");
      answer(commands[name]?.(...args) ?? { error: `unknown command ${name}` });
    })
    .on("close", () => process.exit(0));
});
