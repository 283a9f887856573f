// What the checks in this folder share. Each runs against one server with one client, as its only argument says:
//
//   node socketio.mjs '{"url": "http://127.0.0.1:3210", "package": "socket.io-client", ...}'

import assert from "node:assert/strict";

export const settings = JSON.parse(process.argv[2]);

// The three ways in which a client may connect.
export const variants = {
  polling: ["polling"],
  websocket: ["websocket"],
  upgrade: ["polling", "websocket"],
};

// Long, because a busy machine must not fail a check.
export const patience = 60_000;

function withinPatience(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Resolves to the arguments of the next event of that name.
export const next = (emitter, event) =>
  withinPatience(new Promise((resolve) => emitter.once(event, (...args) => resolve(args))), event);

// Resolves to the first arguments of the next count events of that name.
export const collect = (emitter, event, count) => {
  const got = [];
  return withinPatience(
    new Promise((resolve) => {
      const listener = (arg) => {
        if (got.push(arg) === count) {
          emitter.off(event, listener);
          resolve(got);
        }
      };
      emitter.on(event, listener);
    }),
    `${count} times ${event}`,
  );
};

// Resolves when the condition holds.
export async function until(what, condition) {
  const deadline = Date.now() + patience;
  while (!condition()) {
    assert.ok(Date.now() < deadline, `waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

// Resolves to the arguments of the acknowledgement. All versions of the client know this form.
export const ask = (socket, ...args) =>
  withinPatience(new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer))), `the answer to ${args[0]}`);

// Compares binary values by their bytes, whatever they came as.
export function assertBytes(got, want) {
  assert.ok(got instanceof ArrayBuffer || ArrayBuffer.isView(got), `${got} is not binary`);
  const bytes = got instanceof ArrayBuffer ? Buffer.from(got) : Buffer.from(got.buffer, got.byteOffset, got.byteLength);
  assert.deepEqual([...bytes], [...Buffer.from(want)]);
}
