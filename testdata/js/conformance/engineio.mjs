// Checks a server with engine.io-client, in the version that "package" names; "revision" is that of the protocol.

import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { assertBytes, collect, next, settings, until, variants } from "./client.mjs";

const client = await import(settings.package);
const Socket = client.Socket ?? client.default;
const utf8 = "пойду спать всем спокойной ночи";
const largest = 100; // what the server takes, in bytes

for (const [variant, transports] of Object.entries(variants)) {
  describe(`${settings.package} over ${variant}`, () => {
    let open = [];
    const create = (options = {}) => {
      const socket = new Socket(settings.url, { transports, path: "/engine.io/", ...options });
      socket.on("error", () => {}); // what ends in a close is looked at there
      open.push(socket);
      return socket;
    };

    // The same once it was greeted, and upgraded if it may be.
    const last = transports.at(-1);
    const upgraded = (socket) => until(`the transport is ${last}`, () => socket.transport.name === last);
    const greeted = async (options) => {
      const socket = create(options);
      assert.equal((await next(socket, "message"))[0], "hi");
      await upgraded(socket);
      return socket;
    };

    afterEach(async () => {
      for (const socket of open) socket.close();
      await until("all are closed", () => open.every((socket) => socket.readyState === "closed"));
      open = [];
    });

    it("opens over the transport that it asks for", async () => {
      const socket = create();
      assert.equal(socket.transport.name, transports[0]);
      const [[message]] = await Promise.all([next(socket, "message"), next(socket, "open")]);
      assert.equal(message, "hi");
      assert.match(socket.id, /^[\w-]{20}$/);
      await upgraded(socket);
    });

    it("keeps the order of messages, upgrade or not", async () => {
      const socket = create();
      await next(socket, "message");
      const count = 200;
      const answers = [];
      let sent = 0;
      // Few at a time: a client of revision 3 would put more into one POST than the server takes.
      const send = () => {
        for (; sent < count && sent < answers.length + 8; sent++) socket.send(String(sent));
      };
      socket.on("message", (text) => {
        answers.push(text);
        send();
      });
      send();
      await until("all are answered", () => answers.length === count);
      assert.deepEqual(answers, [...Array(count).keys()].map(String));
      await upgraded(socket);
    });

    it("exchanges text and binary values", async () => {
      const socket = await greeted();
      socket.send("give utf8");
      assert.equal((await next(socket, "message"))[0], utf8);
      for (const text of ["", "cash money €€€", "\u{1F1FA}\u{1F1F8} and 👨‍👩‍👧‍👦", "\ud83c", "\0\x1f"]) {
        const answer = next(socket, "message");
        socket.send(text);
        // The client hands over undefined for an empty message, and a lone surrogate can't be encoded.
        assert.equal((await answer)[0] ?? "", text.toWellFormed());
      }
      socket.send("give binary");
      assertBytes((await next(socket, "message"))[0], [0, 1, 2, 3, 4]);
      const answers = collect(socket, "message", 3);
      socket.send(Buffer.from([0, 30, 255]));
      socket.send("between");
      socket.send(new Uint8Array([4, 5]).buffer);
      const [one, two, three] = await answers;
      assertBytes(one, [0, 30, 255]);
      assert.equal(two, "between");
      assertBytes(three, [4, 5]);
    });

    it("answers pings, or has its own answered", async () => {
      const socket = await greeted();
      let beats = 0;
      socket.on("packet", ({ type }) => (beats += type === (settings.revision === 4 ? "ping" : "pong")));
      await until("there were three", () => beats >= 3);
      socket.send("still here");
      assert.equal((await next(socket, "message"))[0], "still here");
    });

    it("tells the headers that it was given", async () => {
      const socket = await greeted({ extraHeaders: { "X-Custom": "a" } });
      if (last !== "polling") return; // the server only looks at POSTs
      socket.send("sendHeaders");
      assert.equal(JSON.parse((await next(socket, "message"))[0])["x-custom"], "a");
    });

    it("stays within what the server takes, and is refused past it", async () => {
      const socket = await greeted();
      if (settings.revision === 4) {
        const messages = ["a".repeat(99), "b".repeat(30), "c".repeat(30), "d".repeat(35), "€".repeat(33), "f".repeat(99)];
        const answers = collect(socket, "message", messages.length);
        for (const message of messages) socket.send(message);
        assert.deepEqual(await answers, messages);
        const binary = collect(socket, "message", 5);
        for (const size of [72, 20, 20, 20, 72]) socket.send(Buffer.alloc(size, 1));
        assert.deepEqual((await binary).map((b) => b.byteLength), [72, 20, 20, 20, 72]);
      }
      const closed = next(socket, "close");
      socket.send("x".repeat(largest + 1));
      const [reason, details] = await closed;
      assert.equal(reason, last === "polling" ? "transport error" : "transport close");
      if (settings.revision === 3) return; // tells no more
      if (last === "polling") assert.equal(details.description, 413);
      else assert.deepEqual([details.context.code, details.context.reason], [1009, ""]);
    });

    it("is refused", async () => {
      for (const query of [{ deny: 1 }, { sid: "abc" }]) {
        const socket = create({ query });
        const failed = next(socket, "error");
        const [reason] = await next(socket, "close");
        assert.equal(reason, "transport error");
        const [error] = await failed;
        assert.equal(error.type, "TransportError");
        if (transports[0] === "polling") assert.equal(error.description, query.deny ? 403 : 400);
      }
    });

    it("closes in order", async () => {
      const socket = await greeted();
      const closed = next(socket, "close");
      socket.send("the last words");
      socket.close();
      assert.equal((await closed)[0], "forced close");
      assert.equal(socket.writeBuffer.length, 0);
    });

    if (variant === "upgrade") {
      it("closes in the middle of its upgrade, after what it had to say", async () => {
        const socket = create();
        let done = false;
        socket.on("upgrade", () => (done = true));
        await next(socket, "upgrading");
        const closed = next(socket, "close");
        socket.send("hello");
        socket.close();
        await closed;
        assert.ok(done);
        assert.equal(socket.writeBuffer.length, 0);
      });
    }

    if (settings.revision === 4 && variant === "polling") {
      it("keeps cookies if it is told to", async () => {
        for (const [withCredentials, cookie] of [[true, "1=1; 2=2"], [false, undefined]]) {
          const socket = await greeted({ withCredentials });
          socket.send("sendHeaders");
          assert.equal(JSON.parse((await next(socket, "message"))[0]).cookie, cookie);
        }
      });
    }
  });
}
