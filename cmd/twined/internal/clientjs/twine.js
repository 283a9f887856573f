// Twine's browser client: an ES module without dependencies. It has the API of the original twine-client-library, so
// that changing the import is the whole migration, and more; see twine.d.ts.
//
// It speaks Engine.IO 4 and Socket.IO 5 over WebSocket, or HTTP long-polling where WebSocket is blocked.
//
// It keeps its own position in each room, in the tab's storage too, and does not depend on what the server remembers. On
// each connection it subscribes with these positions. The answers have what it missed; what comes meanwhile waits in a
// queue behind that. So every message is handed out once, in its room's order, or a gap is told.

const RETRY_MIN = 500, RETRY_MAX = 5000; // milliseconds between attempts to connect, before jitter
const OPEN_TIMEOUT = 10000, ANSWER_TIMEOUT = 20000; // milliseconds, for a connection and for an answer of the server
const STORE_EVERY = 1000; // milliseconds; when the page goes, it is stored at once
const BLOCKED_FOR = 600000; // milliseconds for which WebSocket is not tried again where it is blocked
const REFRESH_EVERY = 600000; // milliseconds, so that the position in a quiet room stays within what the server keeps
const KEEP_UNHEARD = 1000; // messages of a room that wait for its first listener
const ROOMS_A_REQUEST = 500;
const OFFSET = /^\d+-\d+$/; // "<ms>-<seq>", compared as numbers

const instances = new Map(); // how many there are on the page, by their address

export default class Twine {
  #url; #options; #key;
  #state = "disconnected"; #wanted = true; #away = false; #id; #ids = [];
  #transport; #retry; #watch; #refresh; #heartbeat; #attempt = 0;
  #opened = false; #failed = 0; #blocked = 0; // WebSocket: it has worked; attempts since; not to be tried until
  #events = new Map(); // event → Set of functions
  #acks = new Map(); #ack = 0;
  #binary; // a packet whose attachments have not all come
  #storing;

  // Name → {listeners, unheard: messages before the first listener, heard: the position in front of these, lost: they are
  // not all there, joined: promise of the subscription, settle: its functions until then, asked: the server was, live: it
  // has answered, so that pos moves with #seen; from, pos: everything in (from, pos] was handed out}
  #rooms = new Map();
  #seen; // on this connection, everything up to here was handed out
  #behind = 0; // requests whose rooms are not live yet
  #queue = []; // events that wait for that
  #replayed = new Set(); // on this connection
  #strange = new Set(); // rooms that the server was asked to leave
  #syncing = false;

  constructor(host, options = {}) {
    this.#options = { path: "/socket.io/", transports: ["websocket", "polling"], resume: true, ...options };
    this.#url = new URL(String(host).replace(/\/+$/, "") + this.#options.path, globalThis.location?.href).href;
    if (!this.#names().length) throw new TypeError("transports: give websocket, polling, or both");
    const count = (instances.get(this.#url) ?? 0) + 1;
    instances.set(this.#url, count);
    this.#key = "twine " + this.#url + " " + count;
    this.#load();
    if (typeof addEventListener === "function") {
      addEventListener("pagehide", () => this.#leave());
      addEventListener("pageshow", () => { if (this.#away) { this.#away = false; this.#now(); } });
      addEventListener("visibilitychange", () => this.#store());
      addEventListener("online", () => this.#now());
      addEventListener("offline", () => this.#transport?.fail("offline"));
    }
    this.connect();
  }

  get state() { return this.#state; }
  get connected() { return this.#state === "connected"; }
  get id() { return this.#id; }
  get socket() { return this; } // pages of the original library wait for it, or use its events

  connect() {
    this.#wanted = true;
    this.#now();
    return this;
  }

  disconnect() {
    this.#wanted = false;
    this.#end("closed by the page");
    return this;
  }

  subscribe(room, { after } = {}) {
    if (Array.isArray(room)) return Promise.all(room.map((r) => this.subscribe(r, { after }))).then(() => {});
    let r;
    try {
      r = this.#room(room);
      if (after !== undefined && !OFFSET.test(after)) throw new TypeError("after: " + after + " is not a position such as twine.position(room) returns");
    } catch (e) { return Promise.reject(e); }
    if (!r.joined || after) {
      const before = r.settle;
      r.joined = new Promise((resolve, reject) => { r.settle = { resolve, reject }; });
      r.joined.catch(() => {}); // who does not ask is not told by the console
      before?.resolve(r.joined);
      if (after) Object.assign(r, { pos: after, from: after, live: false, asked: false, unheard: [], heard: undefined, lost: false });
      this.#sync();
    }
    return r.joined;
  }

  async unsubscribe(room) {
    if (Array.isArray(room)) return Promise.all(room.map((r) => this.unsubscribe(r))).then(() => {});
    const r = this.#rooms.get(room);
    if (!r?.joined) return;
    r.settle?.reject(new Error("unsubscribed"));
    this.#drop(room, r);
    // Where the connection is lost, so is what the server knows.
    if (this.connected) await this.#request("unsubscribe", room).catch(() => {});
  }

  position(room) {
    const r = this.#rooms.get(room);
    return r?.joined && (r.heard ?? this.#at(r));
  }

  listenOn(room, callback) {
    const r = this.#room(room);
    r.listeners.add(callback);
    if (r.unheard.length) {
      queueMicrotask(() => {
        const { unheard, heard, lost } = r;
        Object.assign(r, { unheard: [], heard: undefined, lost: false });
        if (lost) this.#emit("gap", { room, from: heard, to: before(unheard[0][0]) });
        for (const [, message] of unheard) call(callback, message);
        this.#touch();
      });
    }
    const stop = () => { r.listeners.delete(callback); };
    // The original's is an async function.
    const done = Promise.resolve();
    for (const name of ["then", "catch", "finally"]) stop[name] = done[name].bind(done);
    return stop;
  }

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

  // Forgets a subscription. Its listeners stay, for another one.
  #drop(name, r) {
    r.joined = undefined;
    this.#rooms.delete(name);
    if (r.listeners.size) this.#room(name).listeners = r.listeners;
    this.#touch();
  }

  #setState(state, reason) {
    const was = this.#state;
    if (state === was) return;
    this.#state = state;
    this.#emit("state", state, reason);
    if (state === "connected") this.#emit("connect");
    if (was === "connected") this.#emit("disconnect", reason);
  }

  // ---- the connection

  // Connects at once, if that is wanted and not under way.
  #now() {
    if (!this.#wanted || this.#away || this.#state !== "disconnected") return;
    this.#attempt = 0;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), 0);
  }

  // The transports that there are.
  #names() {
    return this.#options.transports.filter((n) => n === "polling" || (n === "websocket" && typeof WebSocket === "function"));
  }

  #open() {
    if (!this.#wanted || this.#away || this.#state !== "disconnected") return;
    const names = this.#names();
    const blocked = this.#blocked > Date.now() && names.includes("polling");
    const name = blocked ? "polling" : names[0];
    let opened = false, ended = false;
    // With "client" the server knows one that keeps its own positions.
    const url = this.#url + "?EIO=4&client=twine.js&transport=" + name;
    const transport = this.#transport = (name === "websocket" ? webSocket : polling)(url, {
      packet: (data) => {
        if (this.#transport !== transport) return;
        if (!opened && name === "websocket") { this.#opened = true; this.#failed = this.#blocked = 0; }
        opened = true;
        try { this.#packet(data); } catch (e) { transport.fail("parse error: " + e.message); }
      },
      end: (reason) => {
        if (ended) return;
        ended = true;
        if (!opened && globalThis.navigator?.onLine !== false) {
          // Where WebSocket has worked before, it is more likely the server that is down.
          if (name === "polling") this.#blocked = this.#failed = 0;
          else if (++this.#failed > (this.#opened ? 2 : 0)) this.#blocked = Date.now() + BLOCKED_FOR;
        }
        if (this.#transport === transport) this.#down(reason);
      },
    });
    this.#setState("connecting");
    this.#expect(OPEN_TIMEOUT);
  }

  #expect(ms) {
    clearTimeout(this.#watch);
    const transport = this.#transport;
    this.#watch = setTimeout(() => transport?.fail("timeout"), ms);
  }

  // Closes the connection in order.
  #end(reason) {
    clearTimeout(this.#retry);
    this.#transport?.close(this.connected ? "41" : "");
    this.#down(reason);
  }

  #down(reason) {
    clearTimeout(this.#watch);
    clearInterval(this.#refresh);
    const transport = this.#transport;
    this.#transport = this.#binary = undefined;
    transport?.close();
    for (const r of this.#rooms.values()) this.#unask(r);
    // What waits was not handed out: it comes again.
    this.#queue = [];
    this.#behind = 0;
    this.#seen = undefined;
    this.#replayed.clear();
    this.#strange.clear();
    for (const { reject } of this.#acks.values()) reject(new Error("disconnected"));
    this.#acks.clear();
    this.#setState("disconnected", reason);
    if (!this.#wanted || this.#away || this.#state !== "disconnected") return;
    const wait = Math.min(RETRY_MAX, RETRY_MIN * 2 ** this.#attempt++);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), wait * (0.5 + Math.random()));
  }

  // ---- packets

  #packet(data) {
    if (typeof data !== "string") return this.#attachment(data);
    switch (data[0]) {
      case "0": {
        const { pingInterval, pingTimeout } = JSON.parse(data.slice(1));
        this.#heartbeat = pingInterval + pingTimeout;
        this.#transport.send("40");
        break;
      }
      case "1": this.#transport.fail("closed by the server"); return;
      case "2": this.#transport.send("3"); break;
      case "4": this.#message(data.slice(1)); break;
    }
    if (this.connected) this.#expect(this.#heartbeat);
  }

  #message(text) {
    const [, type, count, , id, body] = /^(\d)(?:(\d+)-)?(\/[^,]*,)?(\d+)?([^]*)$/.exec(text) ?? [];
    const payload = body ? JSON.parse(body) : undefined;
    switch (type) {
      case "0": return this.#connected(payload.sid);
      case "1": return this.#refused("disconnected by the server");
      case "2": return this.#event(payload);
      case "3": return this.#acks.get(Number(id))?.resolve(payload);
      case "4":
        this.#emit("error", new Error(payload?.message ?? "refused"));
        return this.#refused(payload?.message ?? "refused");
      case "5": case "6": this.#binary = { type, id, payload, want: Number(count), parts: [] };
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
    const payload = put(b.payload);
    if (b.type === "5") this.#event(payload);
    else this.#acks.get(Number(b.id))?.resolve(payload);
  }

  #refused(reason) {
    this.#wanted = false; // the server's decision; connect() asks again
    this.#end(reason);
  }

  #connected(sid) {
    this.#id = sid;
    this.#ids = [sid, ...this.#ids].slice(0, 8);
    this.#refresh = setInterval(() => {
      for (const r of this.#rooms.values()) if (r.live) this.#unask(r);
      this.#sync();
    }, REFRESH_EVERY);
    this.#setState("connected");
    this.#sync();
  }

  #request(event, ...args) {
    const id = this.#ack++;
    const transport = this.#transport;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => transport.fail("no answer from the server"), ANSWER_TIMEOUT);
      const settle = (f) => (v) => { clearTimeout(timer); this.#acks.delete(id); f(v); };
      this.#acks.set(id, { resolve: settle(resolve), reject: settle(reject) });
      transport.send("42" + id + JSON.stringify([event, ...args]));
    });
  }

  // ---- rooms

  // The position of a room.
  #at(r) { return r.live && less(r.pos, this.#seen) ? this.#seen : r.pos; }

  // Makes a room one that the server is to be asked for.
  #unask(r) {
    r.pos = this.#at(r);
    r.live = r.asked = false;
  }

  // Asks for all rooms that the server has not been asked for yet, those with the same position together.
  #sync() {
    if (this.#syncing || !this.connected) return;
    this.#syncing = true;
    queueMicrotask(() => {
      this.#syncing = false;
      if (!this.connected) return;
      const groups = new Map();
      for (const [name, r] of this.#rooms) {
        if (!r.joined || r.asked) continue;
        r.asked = true;
        const group = groups.get(r.pos) ?? [];
        groups.set(r.pos, group);
        group.push({ name, r, joined: r.joined });
      }
      if (!groups.size) this.#settled();
      for (const [after, group] of groups) while (group.length) this.#resume(group.splice(0, ROOMS_A_REQUEST), after);
      this.#touch();
    });
  }

  // Subscribes to rooms and hands out what they had after a position, unless that is undefined.
  async #resume(group, after) {
    const transport = this.#transport;
    const ids = this.#ids;
    const still = () => group.filter(({ r, joined }) => r.joined === joined); // wanted as they were then
    const names = () => still().map(({ name }) => name);
    if (after) this.#behind++;
    try {
      let [head = {}, ...values] = await this.#request("subscribe", names(), { after, ids });
      if (head.split || (head.error && group.length > 1)) {
        // Too many messages are missing, or something is wrong with a room: perhaps with one of them alone.
        const half = group.length >> 1;
        this.#resume(group.slice(0, half), after);
        this.#resume(group.slice(half), after);
      } else if (head.error) {
        for (const { name, r } of still()) {
          r.settle?.reject(new Error(head.error));
          this.#drop(name, r);
          this.#emit("error", new Error(name + ": " + head.error));
        }
      } else {
        const { offset } = head;
        for (;;) {
          if (head.error) throw new Error(head.error);
          if (head.gap) {
            for (const { name, r } of still()) {
              r.from = r.pos = offset;
              this.#emit("gap", { room: name, ...head.gap });
            }
          }
          this.#replay(head.entries ?? [], values);
          for (const { r } of still()) if (less(r.pos, head.next)) r.pos = head.next;
          this.#touch();
          if (!head.next || !names().length) break;
          [head = {}, ...values] = await this.#request("twine:missed", names(), { after: head.next, through: offset, ids });
        }
        for (const { r } of still()) {
          if (!r.pos) {
            // What is in the queue was not handed out.
            r.pos = this.#queue.length && !less(offset, this.#queue[0][0]) ? before(this.#queue[0][0]) : offset;
            r.from = r.pos;
          } else if (less(r.pos, offset)) r.pos = offset;
          r.live = true;
          r.settle?.resolve();
          r.settle = undefined;
        }
        this.#settled();
      }
    } catch (e) {
      if (this.#transport === transport) transport.fail(e.message);
      return; // the next connection asks again
    }
    if (!after || --this.#behind) return;
    for (const [offset, values] of this.#queue.splice(0)) this.#live(offset, values);
  }

  #settled() {
    this.#attempt = 0;
    this.#touch();
  }

  #event(values) {
    const offset = values.at(-1);
    if (!OFFSET.test(offset)) return this.#hand(undefined, values);
    values.pop();
    if (this.#behind) this.#queue.push([offset, values]);
    else this.#live(offset, values);
  }

  // Hands out an event that came by itself, unless it was in an answer.
  #live(offset, values) {
    const [event, message] = values;
    const name = event === "message" ? message?.room : undefined;
    const r = this.#rooms.get(name);
    if (!this.#replayed.has(offset + event)) {
      if (r?.joined && !r.live) {
        r.from ??= before(offset); // the server has not answered yet
        r.pos = offset;
      }
      this.#hand(offset, values);
    }
    if (!this.#seen || less(this.#seen, offset)) this.#seen = offset;
    if (typeof name === "string" && !r?.joined && !this.#strange.has(name)) {
      this.#strange.add(name);
      this.#request("unsubscribe", name).catch(() => {});
    }
    this.#touch();
  }

  // Hands out the entries of an answer.
  #replay(entries, values) {
    let i = 0;
    for (const [offset, count, rooms] of entries) {
      const event = values.slice(i, i += count);
      this.#replayed.add(offset + event[0]);
      // It may have come for another room of ours.
      const had = rooms?.some((name) => {
        const r = this.#rooms.get(name);
        return r?.joined && less(r.from, offset) && !less(this.#at(r), offset);
      });
      if (!had) this.#hand(offset, event);
    }
  }

  #hand(offset, [event, ...args]) {
    if (event === "twine:gap") return; // of the server's own session, which this client does not use
    const r = event === "message" && this.#rooms.get(args[0]?.room);
    if (r?.joined) {
      if (r.listeners.size && !r.unheard.length) for (const f of [...r.listeners]) call(f, args[0]);
      else if (offset && (r.unheard.length || !this.#events.get(event)?.size)) {
        r.heard ??= before(offset);
        if (r.unheard.push([offset, args[0]]) > KEEP_UNHEARD) { r.unheard.shift(); r.lost = true; }
      }
    }
    this.#emit(event, ...args);
  }

  // ---- across a reload

  #load() {
    try {
      const { rooms, ids, blocked, opened } = JSON.parse(sessionStorage.getItem(this.#key));
      if (!this.#options.resume) return;
      this.#ids = ids;
      this.#blocked = blocked;
      this.#opened = opened;
      for (const [name, from, pos] of rooms) {
        this.subscribe(name);
        if (pos) Object.assign(this.#room(name), { from, pos });
      }
    } catch { /* no storage, or nothing in it */ }
  }

  // Stores the positions soon.
  #touch() {
    this.#storing ??= setTimeout(() => this.#store(), STORE_EVERY);
  }

  #store() {
    clearTimeout(this.#storing);
    this.#storing = undefined;
    if (!this.#options.resume) return;
    const rooms = [];
    for (const [name, r] of this.#rooms) if (r.joined) rooms.push([name, r.from, r.heard ?? this.#at(r)]);
    try {
      sessionStorage.setItem(this.#key, JSON.stringify({ rooms, ids: this.#ids, blocked: this.#blocked, opened: this.#opened }));
    } catch { /* no storage, or none left */ }
  }

  // The page goes, perhaps to come back as it is.
  #leave() {
    this.#away = true;
    this.#end("the page is left");
    this.#store();
  }
}

function call(f, ...args) {
  try { f(...args); } catch (e) { setTimeout(() => { throw e; }); } // a listener's fault is not the connection's
}

// Whether an offset is in front of another one, if both are there.
function less(a, b) {
  if (!a || !b) return false;
  const [am, as] = a.split("-").map(BigInt), [bm, bs] = b.split("-").map(BigInt);
  return am === bm ? as < bs : am < bm;
}

// The offset in front of another one.
function before(offset) {
  const [ms, seq] = offset.split("-").map(BigInt);
  return seq ? `${ms}-${seq - 1n}` : `${ms - 1n}-${2n ** 64n - 1n}`;
}

function webSocket(url, { packet, end }) {
  let ws;
  try { ws = new WebSocket(url.replace(/^http/, "ws")); } catch (e) {
    const no = () => {}; // not from this page
    setTimeout(() => end(e.message));
    return { send: no, close: no, fail: end };
  }
  ws.binaryType = "arraybuffer";
  ws.onmessage = (e) => packet(e.data);
  ws.onclose = () => end("transport close");
  return {
    send: (data) => { if (ws.readyState === 1) ws.send(data); },
    close: (last) => {
      if (last && ws.readyState === 1) ws.send(last);
      ws.close();
    },
    fail: (reason) => { end(reason); ws.close(); },
  };
}

function polling(url, { packet, end }) {
  const abort = new AbortController();
  let count = 0; // makes each request one that can be told from one that the browser repeats
  const request = async (options) => {
    const response = await fetch(url + "&t=" + (count++).toString(36), { credentials: "include", cache: "no-store", signal: abort.signal, ...options });
    if (!response.ok) throw new Error("status " + response.status);
    return response.text();
  };
  const post = (body, options) => request({ method: "POST", body, headers: { "Content-Type": "text/plain;charset=UTF-8" }, ...options });
  const fail = (reason) => { abort.abort(); end(reason); };
  const deliver = async (payload) => {
    for (const p of payload.split("\x1e")) {
      packet(p[0] === "b" ? Uint8Array.from(atob(p.slice(1)), (c) => c.charCodeAt(0)).buffer : p);
      await undefined; // what a packet sets going is done before the next, as with WebSocket
    }
  };
  const out = [];
  let writing = false;
  const flush = async () => {
    if (writing) return;
    writing = true;
    try {
      while (out.length) await post(out.splice(0).join("\x1e"));
    } catch { fail("transport error"); }
    writing = false;
  };
  (async () => {
    try {
      const open = await request();
      url += "&sid=" + JSON.parse(open.split("\x1e")[0].slice(1)).sid;
      await deliver(open);
      while (!abort.signal.aborted) await deliver(await request());
    } catch { fail("transport error"); }
  })();
  return {
    send: (data) => { out.push(data); flush(); },
    close: (last) => {
      if (abort.signal.aborted) return;
      abort.abort();
      if (url.includes("&sid=")) post([...out, last, "1"].filter(Boolean).join("\x1e"), { signal: undefined, keepalive: true }).catch(() => {});
    },
    fail,
  };
}
