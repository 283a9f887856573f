// The reference server of the history checker (cmd/twinecheck): socket.io with connection state recovery, and the same
// outer surface as twined, as far as the checker uses it. It ends with status 0 on SIGTERM.
//
//   node check-server.mjs PORT KEY

import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import { Server } from "socket.io";

const [port, key] = process.argv.slice(2);

const http = createServer(async (request, response) => {
  const answer = (status, text) => response.writeHead(status, { "content-type": "text/plain" }).end(text);
  if (request.url === "/healthz") return answer(200, "ok");
  if (request.method !== "POST" || request.url !== "/api/twine") return answer(404, "not found");
  if (request.headers.authorization !== key) return answer(401, "wrong key");
  try {
    publish(request.headers["idempotency-key"], await json(request));
    answer(201, "ok");
  } catch (error) {
    answer(400, String(error));
  }
});

const io = new Server(http, { connectionStateRecovery: { maxDisconnectionDuration: 120_000 } });

io.on("connection", (socket) => {
  socket.on("subscribe", (room) => {
    socket.join(room);
    socket.emit("roomJoined", `You have joined room: ${room}`);
  });
});

// The keys of all messages so far. socket.io itself has nothing of the kind: without it, each retry would be counted as a
// message delivered twice, though not by its recovery.
const published = new Set();

function publish(id, { room_id: room, payload }) {
  if (published.has(id)) return;
  published.add(id);
  io.to(room).emit("message", { ...payload, room, timestamp: Date.now() });
}

process.on("SIGTERM", () => {
  // Closes the clients' connections, too. What is idle would keep the process alive.
  io.close(() => process.exit(0));
  http.closeAllConnections();
});

http.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
