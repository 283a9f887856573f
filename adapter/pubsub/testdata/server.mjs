// A server of Node in the cluster, an emitter, and a client of each server. It reads commands, one JSON array a line,
// and answers each with a line of its own; what happens by itself it writes too. Arguments: the address of Redis, "specific"
// or "shared" for where servers answer, and the addresses of the other servers. Modules are those of the working directory.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(process.cwd() + "/");
const { Server } = require("socket.io");
const { io: connect } = require("socket.io-client");
const { createAdapter } = require("@socket.io/redis-adapter");
const { Emitter } = require("@socket.io/redis-emitter");
const { createClient } = require("redis");

const [address, answers, ...others] = process.argv.slice(2);
const write = (...line) => console.log(JSON.stringify(line));
// Bytes are written as such, which JSON would not tell from other objects.
const plain = (value) => {
  if (value instanceof Uint8Array) return { bytes: [...value] };
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object" && !(value instanceof Date))
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]));
  return value;
};

const pub = createClient({ url: address });
const sub = pub.duplicate();
for (const client of [pub, sub]) client.on("error", () => {});
await Promise.all([pub.connect(), sub.connect()]);
const io = new Server({
  adapter: createAdapter(pub, sub, { publishOnSpecificResponseChannel: answers === "specific" }),
});
io.of("/chat");
const emitter = new Emitter(pub);
const port = await new Promise((done) => {
  io.listen(0);
  io.httpServer.on("listening", () => done(io.httpServer.address().port));
});
let socket;
io.on("connection", (s) => {
  s.join(["room", "node"]);
  s.data = { from: "node" };
  socket = s;
});
io.on("question", (...args) => {
  const answer = args.pop();
  write("server event", "question", ...args.map(plain));
  answer({ answer: args[0], from: "node", buffer: Buffer.from([1, 255]) });
});
io.on("news", (...args) => write("server event", "news", ...args.map(plain)));

const clients = {};
for (const [name, url] of [["node", "http://127.0.0.1:" + port], ...others.map((url, i) => ["twine" + i, url])]) {
  const client = (clients[name] = connect(url, { transports: ["websocket"], forceNew: true }));
  client.onAny((event, ...args) => {
    const answer = typeof args.at(-1) === "function" && args.pop();
    write(name, event, ...args.map(plain));
    if (answer && event !== "silence") answer({ from: name, buffer: Buffer.from([2, 254]) }, "second");
  });
  client.on("disconnect", (reason) => write(name, "disconnect", reason));
  await new Promise((done, fail) => client.on("connect", done).on("connect_error", fail));
}

const binary = () => [Buffer.from([1, 2, 255]), { nested: new Uint8Array([7]) }, new Date(0)];
const to = (target, room) => (room ? target.to(room) : target);
const senders = { io, emitter, socket: { to: (room) => socket.to(room) }, chat: io.of("/chat") };
const commands = {
  emit: (sender, room, ...args) => to(senders[sender], room).emit(...args),
  except: (sender, room, ...args) => senders[sender].except(room).emit(...args),
  binary: (sender, room) => to(senders[sender], room).emit("binary", ...binary()),
  volatile: (sender, room) => to(senders[sender], room).volatile.compress(false).emit("volatile"),
  local: () => io.local.emit("local"),
  ask: async (room, ...args) => plain(await io.to(room).timeout(5000).emitWithAck(...args)),
  impatient: async (room) => {
    try {
      await io.to(room).timeout(200).emitWithAck("silence");
    } catch (e) {
      return plain(e.responses);
    }
  },
  fetch: async (room) =>
    (await io.in(room).fetchSockets()).map((s) => ({ id: s.id, rooms: [...s.rooms], data: s.data, handshake: s.handshake })),
  rooms: () => [...socket.rooms],
  allRooms: async () => [...(await io.of("/").adapter.allRooms())],
  join: (sender, room, other) => void senders[sender].in(room).socketsJoin(other),
  leave: (sender, room, other) => void senders[sender].in(room).socketsLeave(other),
  kick: (sender, room) => void senders[sender].in(room).disconnectSockets(true),
  count: () => io.of("/").adapter.serverCount(),
  news: (sender, ...args) => void senders[sender].serverSideEmit("news", ...args, Buffer.from([3, 253])),
  question: async (...args) => plain(await io.serverSideEmitWithAck("question", ...args)),
  ids: () => Object.fromEntries(Object.entries(clients).map(([name, client]) => [name, client.id])),
};

write("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line);
  try {
    write("done", name, (await commands[name](...args)) ?? null);
  } catch (e) {
    write("failed", name, e.message);
  }
}
process.exit(0);
