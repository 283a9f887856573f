// A reference server of a cluster for the history checker (cmd/twinecheck): check-server.mjs with the Redis Streams adapter. A
// message is accepted when Redis has it. It ends with status 0 on SIGTERM.
//
//   node check-cluster-server.mjs PORT KEY REDIS_URL

import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const [port, key, redisUrl] = process.argv.slice(2);

const client = createClient({ url: redisUrl });
client.on("error", (error) => console.error(String(error)));
await client.connect();

const http = createServer(async (request, response) => {
  const answer = (status, text) => response.writeHead(status, { "content-type": "text/plain" }).end(text);
  if (request.url === "/healthz") return answer(200, "ok");
  if (request.method !== "POST" || request.url !== "/api/twine") return answer(404, "not found");
  if (request.headers.authorization !== key) return answer(401, "wrong key");
  let message;
  try {
    message = await json(request);
  } catch (error) {
    return answer(400, String(error));
  }
  try {
    await publish(request.headers["idempotency-key"], message);
    answer(201, "ok");
  } catch (error) {
    answer(503, String(error));
  }
});

const io = new Server(http, {
  adapter: createAdapter(client),
  connectionStateRecovery: { maxDisconnectionDuration: 120_000 },
});

io.on("connection", (socket) => {
  socket.on("subscribe", (room) => {
    socket.join(room);
    socket.emit("roomJoined", `You have joined room: ${room}`);
  });
});

// emit does not tell when Redis has a message. The adapter does, one level below.
const adapter = io.of("/").adapter;
const appendToStream = adapter.doPublish.bind(adapter);
let appended;
adapter.doPublish = (message) => (appended = appendToStream(message));

// socket.io has no idempotency keys. These are shared by all servers, so that a message that a publisher sends again, to
// another server maybe, is not counted as one that was delivered twice. In between a kill can make it one that never was sent,
// and then it is not accepted either: the publisher gets no answer.
async function publish(id, { room_id: room, payload }) {
  const name = `check:${id}`;
  const known = await client.get(name);
  if (known === "done") return;
  if (known !== null || (await client.set(name, "begun", { NX: true, EX: 600 })) === null) {
    throw new Error("not known to have been sent");
  }
  appended = undefined;
  io.to(room).emit("message", { ...payload, room, timestamp: Date.now() });
  await appended;
  await client.set(name, "done", { EX: 600 });
}

process.on("SIGTERM", () => {
  io.close(() => process.exit(0));
  http.closeAllConnections();
});

http.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
