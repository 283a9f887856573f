// The reference server of the benchmark (cmd/twinebench): socket.io with its defaults, every socket in one room.
//
// It takes one command a line on standard input and answers each with a line of JSON; it ends when standard input does.
//
//   stats             CPU used so far and what it holds
//   emit COUNT SIZE   sends COUNT messages of SIZE characters to the room, back to back
//   collect           collects garbage (needs --expose-gc)
//
//   node --expose-gc bench-server.mjs

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { Server } from "socket.io";

const { version } = createRequire(import.meta.url)("socket.io/package.json");
const room = "bench";
let next = 1; // number of the next message

const http = createServer();
const io = new Server(http);
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
  answer({ name: `socket.io ${version}, Node ${process.version}`, port: http.address().port });
  createInterface({ input: process.stdin })
    .on("line", (line) => {
      const [name, ...args] = line.split(" ");
      answer(commands[name]?.(...args) ?? { error: `unknown command ${name}` });
    })
    .on("close", () => process.exit(0));
});
