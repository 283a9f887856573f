// A server of Node in the cluster, with one client. It reads commands, one JSON array a line, and answers each with a
// line of its own; what happens by itself it writes too. Modules are those of the working directory. Arguments: the URL of
// Redis, the number of streams, and further namespaces, each with one more client.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(process.cwd() + "/");
const { Server } = require("socket.io");
const { io: connect } = require("socket.io-client");
const { createAdapter } = require("@socket.io/redis-streams-adapter");
const { createClient } = require("redis");

const write = (...line) => console.log(JSON.stringify(line));
const plain = (value) =>
  Buffer.isBuffer(value) || value instanceof Uint8Array ? { bytes: [...value] } : value;

const [url, streamCount = "1", ...namespaces] = process.argv.slice(2);
const redis = createClient({ url });
redis.on("error", () => {});
await redis.connect();
const io = new Server({ adapter: createAdapter(redis, { streamCount: Number(streamCount) }), connectionStateRecovery: {} });
const address = await new Promise((done) => {
  io.listen(0);
  io.httpServer.on("listening", () => done(io.httpServer.address()));
});
const joined = new Promise((done) =>
  io.on("connection", (socket) => {
    socket.join("room");
    socket.data.from = "node";
    done(socket);
  })
);
io.on("question", (arg, answer) => {
  write("server event", "question", arg);
  answer({ answer: arg, from: "node" });
});
io.on("news", (...args) => write("server event", "news", ...args.map(plain)));

const client = connect("http://127.0.0.1:" + address.port, { transports: ["websocket"] });
client.onAny((event, ...args) => {
  const answer = typeof args.at(-1) === "function" && args.pop();
  write("client event", event, ...args.map(plain));
  if (answer) answer("from node", 2);
});
client.on("disconnect", (reason) => write("client disconnect", reason));
const socket = await joined;
for (const name of namespaces) {
  const here = new Promise((done) => io.of(name).on("connection", (s) => done(s.join("room"))));
  const another = connect("http://127.0.0.1:" + address.port + name, { transports: ["websocket"], forceNew: true });
  another.onAny((event, ...args) => write("client event in " + name, event, ...args.map(plain)));
  await here;
}

const commands = {
  emit: (event, ...args) => io.to("room").emit(event, ...args),
  "emit in": (name, event, ...args) => void io.of(name).to("room").emit(event, ...args),
  binary: () => io.to("room").emit("binary", Buffer.from([1, 2, 255]), { nested: Buffer.from("x") }),
  volatile: () => io.to("room").volatile.emit("volatile"),
  ask: async (room) => io.to(room).timeout(3000).emitWithAck("ask", 1),
  fetch: async () =>
    (await io.fetchSockets()).map((s) => ({ id: s.id, rooms: [...s.rooms], data: s.data, handshake: s.handshake })),
  rooms: () => [...socket.rooms],
  join: (room) => io.in("room").socketsJoin(room),
  leave: (room) => io.in("room").socketsLeave(room),
  kick: (room) => io.in(room).disconnectSockets(true),
  count: () => io.of("/").adapter.serverCount(),
  news: (...args) => io.serverSideEmit("news", ...args),
  question: async (arg) => io.serverSideEmitWithAck("question", arg),
};

write("ready", socket.id);
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line);
  try {
    write("done", name, (await commands[name](...args)) ?? null);
  } catch (e) {
    write("failed", name, e.message);
  }
}
process.exit(0);
