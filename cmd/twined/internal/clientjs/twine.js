// Twine's browser client: an ES module without dependencies. It has the API of the original twine-client-library, so
// that changing the import is the whole migration, and more; see twine.d.ts.
//
// It speaks Engine.IO 4 and Socket.IO 5 over WebSocket, or HTTP long-polling where WebSocket is blocked.

const RETRY_MIN = 500, RETRY_MAX = 5000; // milliseconds between attempts to connect, before jitter
const OPEN_TIMEOUT = 10000; // for a transport to open and for the server to answer
const ACK_TIMEOUT = 10000;
const KEEP_UNHEARD = 1000; // messages of a room that wait for its first listener

export default class Twine {
  #host; #options; #transport; #timer; #watch; #attempt = 0; #wanted = true; #state = "disconnected";
  #pid; #offset; #last; #id;
  #rooms = new Map(); // room → {listeners, unheard, joined: promise of the subscription, or undefined}
  #events = new Map(); // event → Set of functions
  #acks = new Map(); #ack = 0;
  #binary; // a packet whose attachments have not all come
  #blocked = false; // WebSocket failed where polling worked

  constructor(host, options = {}) {
    this.#host = String(host).replace(/\/+$/, "");
    this.#options = { path: "/socket.io/", transports: ["websocket", "polling"], ...options };
    this.#takeOver();
    if (typeof addEventListener === "function") {
      addEventListener("pagehide", () => this.#handOver());
      addEventListener("online", () => { this.#attempt = 0; if (this.#wanted && this.#state !== "connected") this.#reconnectIn(0); });
      addEventListener("offline", () => this.#transport?.fail("offline"));
    }
    this.connect();
  }

  get state() { return this.#state; }
  get id() { return this.#id; }

  connect() {
    this.#wanted = true;
    if (this.#state === "disconnected") this.#reconnectIn(0);
    return this;
  }

  disconnect() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    if (this.#state === "connected") this.#transport.send("41");
    this.#transport?.close();
    this.#down("closed by the page");
    return this;
  }

  // Resolves once the server has the subscription safe. A lost connection only delays that.
  subscribe(room) {
    const r = this.#room(room);
    if (!r.joined) {
      let settle;
      r.joined = new Promise((resolve, reject) => { settle = { resolve, reject }; });
      r.joined.catch(() => {}); // who does not ask is not told by the console
      r.settle = settle;
      if (this.#state === "connected") this.#join(room, r);
    }
    return r.joined;
  }

  async unsubscribe(room) {
    const r = this.#rooms.get(room);
    if (r) { r.joined = r.settle = undefined; if (!r.listeners.size) this.#rooms.delete(room); }
    if (this.#state === "connected") await this.#request("unsubscribe", room);
  }

  // Calls callback with each message of the room, also those that came before. Returns a function that ends it.
  listenOn(room, callback) {
    const r = this.#room(room);
    r.listeners.add(callback);
    const waiting = r.unheard.splice(0);
    if (waiting.length) queueMicrotask(() => { for (const m of waiting) call(callback, m); });
    return () => r.listeners.delete(callback);
  }

  // Events: "state", "gap", "error", and those that the server emits.
  on(event, callback) {
    if (!this.#events.has(event)) this.#events.set(event, new Set());
    this.#events.get(event).add(callback);
    return () => this.off(event, callback);
  }
  off(event, callback) { this.#events.get(event)?.delete(callback); }

  #emit(event, ...args) { for (const f of [...(this.#events.get(event) ?? [])]) call(f, ...args); }

  #room(name) {
    if (typeof name !== "string" || !name) throw new TypeError("a room is a string that is not empty");
    if (!this.#rooms.has(name)) this.#rooms.set(name, { listeners: new Set(), unheard: [] });
    return this.#rooms.get(name);
  }

  #setState(state, reason) {
    if (state === this.#state) return;
    this.#state = state;
    this.#emit("state", state, reason);
  }

  // ---- the connection

  #reconnectIn(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), ms);
  }

  async #open() {
    if (!this.#wanted || this.#state !== "disconnected") return;
    this.#setState("connecting");
    const attempt = {}; // what comes later belongs to another attempt
    this.#transport = attempt;
    const current = (t) => this.#transport === t;
    attempt.close = attempt.fail = () => {};
    attempt.send = () => {};
    try {
      await fetch(this.#host + "/set-cookie", { credentials: "include" });
    } catch { /* the transport will tell */ }
    if (!current(attempt)) return;
    const names = this.#options.transports.filter((n) => n !== "websocket" || typeof WebSocket === "function");
    const name = this.#blocked && names.includes("polling") ? "polling" : names[0];
    const url = this.#host + this.#options.path + "?EIO=4&transport=" + name;
    let opened = false, ended = false;
    const transport = (name === "websocket" ? webSocket : polling)(url, {
      packet: (data) => { if (current(transport)) { opened = true; this.#packet(data); } },
      end: (reason) => {
        if (ended) return;
        ended = true;
        if (name === "websocket" && !opened && names.includes("polling") && globalThis.navigator?.onLine !== false) this.#blocked = true;
        if (name === "polling" && !opened) this.#blocked = false;
        if (current(transport)) this.#down(reason);
      },
    });
    this.#transport = transport;
    this.#expect(OPEN_TIMEOUT);
  }

  #expect(ms) {
    clearTimeout(this.#watch);
    const transport = this.#transport;
    this.#watch = setTimeout(() => transport.fail("timeout"), ms);
  }

  #down(reason) {
    clearTimeout(this.#watch);
    const transport = this.#transport;
    this.#transport = undefined;
    transport?.close();
    this.#binary = undefined;
    for (const { reject } of this.#acks.values()) reject(new Error("disconnected"));
    this.#acks.clear();
    this.#setState("disconnected", reason);
    if (!this.#wanted) return;
    const wait = Math.min(RETRY_MAX, RETRY_MIN * 2 ** this.#attempt++);
    this.#reconnectIn(wait * (0.5 + Math.random()));
  }

  // ---- packets

  #heartbeat = OPEN_TIMEOUT;

  #packet(data) {
    if (typeof data !== "string") return this.#attachment(data);
    switch (data[0]) {
      case "0": {
        const { pingInterval, pingTimeout } = JSON.parse(data.slice(1));
        this.#heartbeat = pingInterval + pingTimeout;
        const auth = this.#pid ? { pid: this.#pid, offset: this.#offset } : undefined;
        this.#transport.send("40" + (auth ? JSON.stringify(auth) : ""));
        break;
      }
      case "1": this.#transport.fail("closed by the server"); return;
      case "2": this.#transport.send("3"); break;
      case "4": this.#message(data.slice(1)); break;
    }
    if (this.#transport && this.#state === "connected") this.#expect(this.#heartbeat);
  }

  #message(text) {
    const [, type, count, , id, body] = /^(\d)(?:(\d+)-)?(\/[^,]*,)?(\d+)?([^]*)$/.exec(text) ?? [];
    const payload = body ? JSON.parse(body) : undefined;
    switch (type) {
      case "0": return this.#connected(payload);
      case "1": return this.#refused("disconnected by the server");
      case "2": return this.#event(payload, text);
      case "3": return this.#acks.get(Number(id))?.resolve(payload);
      case "4": this.#emit("error", new Error(payload?.message ?? "refused")); return this.#refused(payload?.message);
      case "5": this.#binary = { payload, text, want: Number(count), parts: [] };
    }
  }

  #attachment(data) {
    const b = this.#binary;
    if (!b) return;
    b.parts.push(data);
    if (b.parts.length < b.want) return;
    this.#binary = undefined;
    const put = (v) => {
      if (v?._placeholder === true) return b.parts[v.num];
      if (v && typeof v === "object") for (const k in v) v[k] = put(v[k]);
      return v;
    };
    this.#event(put(b.payload), undefined);
  }

  #refused(reason) {
    this.#wanted = false; // the server's decision; connect() asks again
    this.#transport?.close();
    this.#down(reason);
  }

  #connected({ sid, pid }) {
    const recovered = pid !== undefined && pid === this.#pid;
    if (!recovered) this.#last = undefined;
    this.#id = sid;
    this.#pid = pid;
    this.#attempt = 0;
    this.#setState("connected", recovered ? "recovered" : "new");
    for (const [room, r] of this.#rooms) if (r.joined && !(recovered && !r.settle)) this.#join(room, r);
  }

  #event([event, ...args], text) {
    const offset = args.at(-1);
    const positioned = typeof offset === "string" && /^\d+-\d+$/.test(offset);
    if (positioned) {
      args.pop();
      const order = compare(offset, this.#offset);
      if (order < 0 || (order === 0 && text !== undefined && text === this.#last)) return; // had it before
    }
    if (event === "twine:gap") this.#emit("gap", args[0]);
    else if (event === "message" && this.#rooms.has(args[0]?.room)) {
      const r = this.#rooms.get(args[0].room);
      if (r.listeners.size) for (const f of [...r.listeners]) call(f, args[0]);
      else if (r.unheard.push(args[0]) > KEEP_UNHEARD) r.unheard.shift();
    } else if (event === "message" && typeof args[0]?.room === "string") {
      this.#room(args[0].room).unheard.push(args[0]); // of a subscription from before a reload
    }
    this.#emit(event, ...args);
    if (positioned) { this.#offset = offset; this.#last = text; }
  }

  #request(event, ...args) {
    const id = this.#ack++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => { this.#acks.delete(id); reject(new Error("no answer from the server")); }, ACK_TIMEOUT);
      const settle = (f) => (v) => { clearTimeout(timer); this.#acks.delete(id); f(v); };
      this.#acks.set(id, { resolve: settle(resolve), reject: settle(reject) });
      this.#transport.send("42" + id + JSON.stringify([event, ...args]));
    });
  }

  async #join(room, r) {
    try {
      const [answer] = await this.#request("subscribe", room);
      if (answer?.error) {
        r.settle?.reject(new Error(answer.error));
        r.joined = undefined;
      } else r.settle?.resolve();
      r.settle = undefined;
    } catch {
      // The connection is gone, or the server slow: the next connection asks again.
      if (this.#state === "connected" && r.joined) this.#join(room, r);
    }
  }

  // ---- across a reload

  // The entry exists only from the moment a page goes away until the next one comes: a tab that was duplicated has a copy
  // of the storage, and must not take the session of the tab that it was copied from.
  get #key() { return "twine:" + this.#host; }

  #takeOver() {
    try {
      const entry = JSON.parse(sessionStorage.getItem(this.#key));
      sessionStorage.removeItem(this.#key);
      if (entry) [this.#pid, this.#offset] = [entry.pid, entry.offset];
    } catch { /* no storage */ }
  }

  #handOver() {
    try {
      if (this.#pid && this.#wanted) sessionStorage.setItem(this.#key, JSON.stringify({ pid: this.#pid, offset: this.#offset }));
    } catch { /* no storage */ }
  }
}

function call(f, ...args) {
  try { f(...args); } catch (e) { setTimeout(() => { throw e; }); } // a listener's fault is not the connection's
}

// Offsets are "<ms>-<seq>", compared as numbers.
function compare(a, b) {
  if (!b) return 1;
  const [am, as] = a.split("-").map(BigInt), [bm, bs] = b.split("-").map(BigInt);
  return am === bm ? (as < bs ? -1 : as > bs ? 1 : 0) : am < bm ? -1 : 1;
}

function webSocket(url, { packet, end }) {
  const ws = new WebSocket(url.replace(/^http/, "ws"));
  ws.binaryType = "arraybuffer";
  ws.onmessage = (e) => packet(e.data);
  ws.onclose = () => end("transport close");
  ws.onerror = () => {};
  return {
    send: (data) => { if (ws.readyState === 1) ws.send(data); },
    close: () => ws.close(),
    fail: (reason) => { end(reason); ws.close(); },
  };
}

function polling(url, { packet, end }) {
  const abort = new AbortController();
  const request = async (options) => {
    const response = await fetch(url, { credentials: "include", cache: "no-store", signal: abort.signal, ...options });
    if (!response.ok) throw new Error("status " + response.status);
    return response.text();
  };
  const fail = (reason) => { abort.abort(); end(reason); };
  const deliver = (payload) => {
    for (const p of payload.split("\x1e")) {
      packet(p[0] === "b" ? Uint8Array.from(atob(p.slice(1)), (c) => c.charCodeAt(0)).buffer : p);
    }
  };
  const out = [];
  let writing = false;
  const flush = async () => {
    if (writing) return;
    writing = true;
    try {
      while (out.length) await request({ method: "POST", body: out.splice(0).join("\x1e"), headers: { "Content-Type": "text/plain;charset=UTF-8" } });
    } catch { fail("transport error"); }
    writing = false;
  };
  (async () => {
    try {
      const open = await request();
      url += "&sid=" + JSON.parse(open.split("\x1e")[0].slice(1)).sid;
      deliver(open);
      while (!abort.signal.aborted) deliver(await request());
    } catch { fail("transport error"); }
  })();
  return {
    send: (data) => { out.push(data); flush(); },
    close: () => {
      if (abort.signal.aborted) return;
      abort.abort();
      if (url.includes("&sid=")) fetch(url, { method: "POST", body: "1", credentials: "include", keepalive: true }).catch(() => {});
    },
    fail,
  };
}
