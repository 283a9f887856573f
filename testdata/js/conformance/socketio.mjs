// Checks a server with socket.io-client, in the version that "package" names. The others of its settings:
//
//   "major":    the client's major version
//   "recovery": the server has connection state recovery
//   "msgpack":  both sides use socket.io-msgpack-parser

import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { ask, assertBytes, collect, next, settings, until, variants } from "./client.mjs";

const client = await import(settings.package);
const io = client.io ?? client.default;
const legacy = settings.major === 2;
const recovers = settings.recovery && settings.major >= 4;
const parser = settings.msgpack ? (await import("socket.io-msgpack-parser")).default : undefined;

// What a client that is refused is told, and by which event.
const refusal = async (socket) => {
  const [error] = await next(socket, legacy ? "error" : "connect_error");
  return legacy ? { message: error?.message ?? error, data: error } : { message: error.message, data: error.data };
};

for (const [variant, transports] of Object.entries(variants)) {
  describe(`${settings.package} over ${variant}`, () => {
    let open = [];

    // A client with a connection of its own.
    const create = (path = "", options = {}) => {
      const socket = io(settings.url + path, {
        transports,
        parser,
        forceNew: true,
        reconnectionDelay: 10,
        reconnectionDelayMax: 50,
        ...options,
      });
      open.push(socket);
      return socket;
    };

    // The same once it is connected, and upgraded if it may be.
    const connect = async (path, options) => {
      const socket = create(path, options);
      await next(socket, "connect");
      await upgraded(socket);
      return socket;
    };

    const last = transports.at(-1);
    const upgraded = (socket) => until(`the transport is ${last}`, () => socket.io.engine.transport?.name === last);

    afterEach(() => {
      for (const socket of open) {
        socket.io.reconnection(false);
        socket.disconnect();
        socket.io.engine?.close();
      }
      open = [];
    });

    it("connects over the transport that it asks for", async () => {
      const socket = create();
      socket.io.on("open", () => (socket.first = socket.io.engine.transport.name));
      const [connected] = await Promise.all([next(socket, "connect"), until("it is open", () => socket.first)]);
      assert.deepEqual(connected, []);
      assert.equal(socket.first, transports[0]);
      await upgraded(socket);
      assert.deepEqual(await ask(socket, "getId"), [socket.id]);
    });

    it("keeps the order of messages, upgrade or not", async () => {
      const socket = create();
      const count = 300;
      const answers = [];
      for (let i = 0; i < count; i++) socket.emit("echo", i, (n) => answers.push(n));
      await until("there are answers to all", () => answers.length === count);
      assert.deepEqual(answers, [...Array(count).keys()]);
      await upgraded(socket);
    });

    it("exchanges events", async () => {
      const socket = await connect();
      socket.emit("hi");
      await next(socket, "hi");
      socket.emit("false");
      assert.equal((await next(socket, "false"))[0], false);
      socket.emit("getUtf8");
      assert.deepEqual(await collect(socket, "takeUtf8", 5), ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"]);
      socket.emit("getDate");
      assert.ok(Date.parse((await next(socket, "takeDate"))[0]) > 0);
      socket.emit("getDateObj");
      assert.ok(Date.parse((await next(socket, "takeDateObj"))[0].date) > 0);
    });

    it("gets its questions answered", async () => {
      const socket = await connect();
      const args = [1, -1.5, "2", "", "👍 €", { 3: [true, { deep: null }] }, [], null, false];
      assert.deepEqual(await ask(socket, "echo", ...args), args);
      assert.deepEqual(await ask(socket, "echo"), []);
      const [date] = await ask(socket, "echo", new Date(1700000000123));
      assert.equal(date, "2023-11-14T22:13:20.123Z");
      const [ackDate] = await ask(socket, "getAckDate", { test: true });
      assert.ok(Date.parse(ackDate) > 0);
    });

    it("answers the server's questions", async () => {
      const socket = await connect();
      let asked = 0;
      socket.on("ack", (answer) => (asked++ === 0 ? undefined : answer(5, { test: true })));
      socket.emit("ack"); // is never answered, which holds up nothing
      socket.emit("ack");
      await next(socket, "got it");
      socket.on("give", (question, answer) => answer(question, { nested: Buffer.from([255]) }));
      socket.emit("askBinary");
      const [question, object] = await next(socket, "given");
      assertBytes(question, [1, 2]);
      assertBytes(object.nested, [255]);
    });

    it("exchanges binary values", async () => {
      const socket = await connect();
      for (const [event, answer] of [["doge", "doge"], ["getbin", "takebin"]]) {
        socket.emit(event);
        assertBytes((await next(socket, answer))[0], "asdfasdf");
      }
      const values = [Buffer.from("asdfasdf"), new Uint8Array([9, 8, 7]).buffer];
      if (!legacy) values.push(new Uint8Array([1, 2, 3])); // is an object of numbers to 2.x
      for (const value of values) {
        socket.emit("buffa", value);
        await next(socket, "buffack");
        const [echoed] = await ask(socket, "echo", value);
        assertBytes(echoed, Buffer.from(value));
      }
      socket.emit("jsonbuff", { hello: "lol", message: Buffer.from("asdfasdf"), goodbye: "gotcha" });
      await next(socket, "jsonbuff-ack");
      socket.emit("abuff1", Buffer.from("asdfasdf"));
      socket.emit("abuff2", "please arrive second");
      await next(socket, "abuff2-ack");

      const large = Buffer.alloc(200_000, "x");
      const [mixed, empty, text] = await ask(socket, "echo", { a: [Buffer.from([1]), { b: large }] }, Buffer.alloc(0), "text");
      assertBytes(mixed.a[0], [1]);
      assertBytes(mixed.a[1].b, large);
      assertBytes(empty, []);
      assert.equal(text, "text");
    });

    it("uses several namespaces on one connection", async () => {
      const main = await connect();
      const foo = main.io.socket("/foo");
      await next(foo, "connect");
      assert.notEqual(foo.id, main.id);
      assert.deepEqual(await ask(foo, "getId"), [foo.id]);
      const child = main.io.socket("/dynamic-7");
      await next(child, "connect");
      assert.deepEqual(await ask(child, "name"), ["/dynamic-7"]);

      const unknown = main.io.socket("/unknown");
      assert.equal((await refusal(unknown)).message, "Invalid namespace");

      const { id } = foo;
      foo.disconnect();
      assert.ok(foo.disconnected);
      assert.deepEqual(await ask(main, "echo", 1), [1]);
      foo.open();
      await next(foo, "connect");
      if (!legacy) assert.notEqual(foo.id, id);
      assert.deepEqual(await ask(foo, "getId"), [foo.id]);
    });

    it("is refused by a middleware", async () => {
      assert.equal((await refusal(create("/no"))).message, "Auth failed (custom namespace)");
      assert.equal((await refusal(create("/?fail=1"))).message, "Auth failed (main namespace)");
      const strict = create("/strict");
      assert.deepEqual((await refusal(strict)).data, { code: 42 });
      if (legacy) return; // tells it in the query, so it would have to open another socket
      assert.ok(!strict.connected);
      if (settings.major >= 4) assert.ok(!strict.active);
      strict.auth = { token: "right" };
      strict.connect();
      await next(strict, "connect");
    });

    it("describes itself", async () => {
      const query = { key1: "value1", "&=? a": "&=?a €" };
      const socket = await connect("", { query, extraHeaders: { "X-Custom": "yes" } });
      const [handshake] = await ask(socket, "getHandshake");
      assert.equal(handshake.query.key1, "value1");
      assert.equal(handshake.query["&=? a"], "&=?a €");
      assert.equal(handshake.query.transport, transports[0]);
      assert.equal(handshake.headers["x-custom"], "yes");
      assert.equal(handshake.xdomain, false);
      assert.ok(handshake.url.startsWith("/socket.io/?"));

      const abc = create(legacy ? "/abc?a=b" : "/abc", { auth: { a: "b" } });
      assert.equal((await next(abc, "handshake"))[0].auth.a, "b");
      if (legacy) return;
      const late = create("/abc", { auth: (tell) => setTimeout(tell, 5, { a: "later" }) });
      assert.equal((await next(late, "handshake"))[0].auth.a, "later");
    });

    it("is in rooms", async () => {
      const [one, two, three] = await Promise.all([connect(), connect(), connect()]);
      await ask(one, "join", "room");
      await ask(two, "join", "room");
      const quiet = [];
      for (const socket of [one, three]) socket.on("news", (n) => quiet.push(n));
      one.emit("toRoom", "room", Buffer.from([1, 2]));
      assertBytes((await next(two, "news"))[0], [1, 2]);
      three.emit("toAll", "everyone");
      const all = await Promise.all([one, two, three].map((socket) => next(socket, "all")));
      assert.deepEqual(all.map(([text]) => text), ["everyone", "everyone", "everyone"]);
      assert.deepEqual(quiet, []);
    });

    it("leaves and comes back", async () => {
      const socket = await connect();
      const { id, io: { engine } } = socket;
      const gone = next(socket, "disconnect");
      socket.disconnect();
      assert.equal((await gone)[0], "io client disconnect");
      assert.ok(!socket.connected && !socket.id);
      // Clients before 4.x forget about one of two engines if the first is still closing.
      await until("the connection is closed", () => engine.readyState === "closed");
      socket.connect();
      await next(socket, "connect");
      assert.notEqual(socket.id, id);
      assert.deepEqual(await ask(socket, "getId"), [socket.id]);
    });

    it("is sent away for good", async () => {
      const socket = await connect();
      const attempts = [];
      (legacy ? socket : socket.io).on("reconnect_attempt", (n) => attempts.push(n));
      socket.emit("sendAway");
      assert.equal((await next(socket, "disconnect"))[0], "io server disconnect");
      const other = await connect(); // by now it would have come back
      assert.deepEqual(await ask(other, "echo", 1), [1]);
      assert.ok(!socket.connected);
      assert.deepEqual(attempts, []);
      socket.connect();
      await next(socket, "connect");
    });

    it("reconnects after the server cut it off", async () => {
      const socket = await connect();
      const { id } = socket;
      socket.emit("hi");
      await next(socket, "hi");
      const reconnected = next(legacy ? socket : socket.io, "reconnect");
      const back = next(socket, "disconnect").then(([reason]) => {
        assert.equal(reason, "transport close");
        socket.emit("hi"); // is kept until it is back
        return Promise.all([next(socket, "connect"), next(socket, "hi")]);
      });
      socket.emit("cutOff");
      await back;
      assert.deepEqual(await reconnected, [1]);
      if (settings.major >= 4) assert.equal(Boolean(socket.recovered), recovers);
      assert.equal(socket.id === id, recovers);
      assert.deepEqual(await ask(socket, "getId"), [socket.id]);
    });

    it("reconnects after it sent nonsense", async () => {
      const socket = await connect();
      const gone = next(socket, "disconnect");
      socket.io.engine.send("nonsense");
      assert.match((await gone)[0], /^transport (close|error)$/); // over polling the POST may fail before the poll ends
      await next(socket, "connect");
      assert.deepEqual(await ask(socket, "echo", 1), [1]);
    });

    if (recovers) {
      it("gets what it missed, once", async () => {
        const [socket, other] = await Promise.all([connect(), connect()]);
        const { id } = socket;
        await ask(socket, "join", "room");
        const got = [];
        socket.on("news", (n) => got.push(n));
        for (let i = 0; i < 5; i++) other.emit("toRoom", "room", i);
        await until("the first five are there", () => got.length === 5);
        socket.io.reconnection(false);
        const gone = next(socket, "disconnect");
        socket.io.engine.close();
        await gone;
        for (let i = 5; i < 10; i++) other.emit("toRoom", "room", i);
        await ask(other, "echo", 1);
        socket.connect();
        await next(socket, "connect");
        assert.ok(socket.recovered);
        assert.equal(socket.id, id);
        for (let i = 10; i < 15; i++) other.emit("toRoom", "room", i);
        await until("all are there", () => got.length >= 15);
        assert.deepEqual(got, [...Array(15).keys()]);
      });
    }

    if (settings.major >= 4) {
      it("gives up waiting for an answer", async () => {
        const socket = await connect();
        await assert.rejects(new Promise((resolve, reject) => socket.timeout(20).emit("nobody", (e) => (e ? reject(e) : resolve()))), /timed out/);
        const value = await new Promise((resolve, reject) =>
          socket.timeout(10_000).emit("echo", 42, (e, v) => (e ? reject(e) : resolve(v))),
        );
        assert.equal(value, 42);
      });

      it("tries again until there is an answer", async () => {
        const socket = create("", { retries: 3, ackTimeout: 10_000 });
        const values = [];
        for (const i of [1, 2, 3]) socket.emit("echo", i, (error, value) => values.push(error ?? value));
        await until("all are answered", () => values.length === 3);
        assert.deepEqual(values, [1, 2, 3]);
        assert.equal(await socket.emitWithAck("echo", 4), 4);
      });

      it("drops volatile events while it is away", async () => {
        const socket = create();
        socket.volatile.emit("hi");
        let answers = 0;
        socket.on("hi", () => answers++);
        await next(socket, "connect");
        await upgraded(socket);
        assert.deepEqual(await ask(socket, "echo", 1), [1]);
        assert.equal(answers, 0);
        await until("one gets through", () => answers > 0 || void socket.volatile.emit("hi")); // not while a POST is under way
      });
    }
  });
}
