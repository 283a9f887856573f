import { API, isOriginal, KeyRefused } from "./api.js";
import { $, element } from "./dom.js";
import { Spark } from "./spark.js";
import { Tail } from "./tail.js";

const POLL = 2000; // ms
const STORED = "twine-console-key"; // in sessionStorage, and so in this tab alone

let session; // what is open with the key, if any

// Session is the console from the moment that a key is accepted until it is forgotten.
class Session {
  #api; #timer; #before; #spark = new Spark($("#spark")); #ended = false;
  tail;

  constructor(api, status) {
    this.#api = api;
    this.tail = new Tail(api, (why) => leave(why));
    this.#show(status);
    this.refreshRooms();
    this.#next();
  }

  end() {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.tail.end();
    this.tail.clear();
  }

  #next() {
    this.#timer = setTimeout(() => this.#poll(), POLL);
  }

  async #poll() {
    if (!document.hidden) {
      await this.#try(async () => {
        const status = await this.#api.status();
        if (!this.#ended) this.#show(status);
      });
      await this.refreshRooms();
    }
    if (!this.#ended) this.#next();
  }

  async #try(ask) {
    try {
      await ask();
    } catch (error) {
      if (this.#ended) return;
      if (error instanceof KeyRefused) return leave(error.message);
      state("unreachable", "bad");
    }
  }

  refreshRooms() {
    const search = $("#search").value.trim();
    return this.#try(async () => {
      const list = await this.#api.rooms(search);
      if (!this.#ended && search === $("#search").value.trim()) showRooms(list, this.tail.room);
    });
  }

  publish(...message) {
    return this.#api.publish(...message);
  }

  #show(s) {
    state(s.ready ? "ready" : s.reason, s.ready ? "good" : "bad");
    const version = shortVersion(s.version);
    $("#version").textContent = version;
    $("#version").title = s.version;
    $("#trouble").textContent = s.problem ? `${capital(s.problem)}; what is shown may be incomplete.` : "";
    $("#clients").textContent = s.clients.toLocaleString();
    $("#room-count").textContent = s.rooms.toLocaleString();
    $("#uptime").textContent = duration(s.uptime);
    const accepted = s.published.accepted ?? 0, failed = (s.published.failed ?? 0) + (s.published.refused ?? 0);
    $("#accepted").textContent = compact(accepted);
    $("#accepted").title = `${accepted.toLocaleString()} accepted, ${failed.toLocaleString()} not`;
    if (this.#before && s.uptime > this.#before.uptime) {
      const rate = (accepted - this.#before.accepted) / (s.uptime - this.#before.uptime);
      $("#rate").textContent = rate >= 100 ? Math.round(rate).toLocaleString() : rate.toLocaleString(undefined, { maximumFractionDigits: 1 });
      this.#spark.add(rate);
    }
    this.#before = { accepted, uptime: s.uptime };
    $("#rate-title").textContent = s.nodes.length > 1 ? "Messages a second, here" : "Messages a second";
    $("#accepted-title").textContent = s.nodes.length > 1 ? "Published here" : "Published";
    showNodes(s.nodes);
  }
}

function state(text, kind) {
  $("#state").textContent = text;
  $("#state").className = kind;
}

function showNodes(nodes) {
  $("#nodes-note").textContent = nodes.length === 1 ? "one, on its own" : nodes.length + " in the cluster";
  $("#nodes").replaceChildren(...nodes.map((n) => {
    const facts = [];
    if (n.address) facts.push(n.address);
    if (n.clients !== undefined) facts.push(count(n.clients, "client"));
    if (n.started) facts.push("since " + new Date(n.started).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }));
    const name = n.self && nodes.length > 1 ? n.name + " (this one)" : n.name;
    return element("li", {}, element("b", {}, name), element("span", {}, facts.join(" · ")));
  }));
}

function showRooms({ rooms, found, all }, followed) {
  $("#rooms-note").textContent =
    all === 0 ? "nobody is in a room" :
    found === 0 ? "none matches" :
    found > rooms.length ? `the largest ${rooms.length} of ${found.toLocaleString()}` :
    found < all ? `${found.toLocaleString()} of ${all.toLocaleString()}` : all.toLocaleString();
  const largest = rooms[0]?.sockets ?? 1;
  const focused = document.activeElement?.dataset?.room;
  $("#rooms").replaceChildren(...rooms.map(({ room, sockets }) => {
    const bar = element("meter", { max: largest, value: sockets, ariaHidden: "true" });
    const button = element("button", { type: "button", title: "Follow " + room }, element("span", {}, room), bar, element("b", {}, sockets.toLocaleString()));
    button.dataset.room = room;
    button.setAttribute("aria-label", `${room}, ${count(sockets, "client")}: follow`);
    if (room === followed) button.setAttribute("aria-current", "true");
    const item = element("li", {}, button);
    return item;
  }));
  if (focused !== undefined) [...$("#rooms").querySelectorAll("button")].find((b) => b.dataset.room === focused)?.focus();
}

const count = (n, what) => `${n.toLocaleString()} ${what}${n === 1 ? "" : "s"}`;
const capital = (text) => text[0].toUpperCase() + text.slice(1);
const compact = (n) => n.toLocaleString(undefined, n < 100_000 ? {} : { notation: "compact", maximumFractionDigits: 1 });

// A build that is no release has a version of time and commit, of which the commit tells the most.
function shortVersion(version) {
  const commit = /^v\d+\.\d+\.\d+-(?:[0-9A-Za-z.]+\.)?\d{14}-([0-9a-f]{7})/.exec(version)?.[1];
  return commit ? "build " + commit : version.replace(/[()]/g, "");
}

function duration(seconds) {
  const s = Math.floor(seconds), m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
  return d ? `${d} d ${h % 24} h` : h ? `${h} h ${m % 60} min` : m ? `${m} min ${s % 60} s` : `${s} s`;
}

// ---- the key

async function enter(key, problem) {
  const api = new API(key);
  try {
    const status = await api.status();
    sessionStorage.setItem(STORED, key);
    $("#gate").hidden = true;
    $("#console").hidden = false;
    $("#leave").hidden = false;
    session = new Session(api, status);
  } catch (error) {
    leave(error instanceof KeyRefused ? problem : "The daemon cannot be reached: " + error.message, error instanceof KeyRefused);
  }
}

function leave(problem = "", forget = true) {
  session?.end();
  session = undefined;
  if (forget) sessionStorage.removeItem(STORED);
  state("", "");
  $("#version").textContent = "";
  $("#console").hidden = true;
  $("#leave").hidden = true;
  $("#gate").hidden = false;
  $("#key-problem").textContent = problem;
  $("#key").focus();
}

$("#enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = $("#key").value.trim();
  $("#key").value = "";
  $("#key-problem").textContent = "";
  // A header takes printable ASCII alone.
  if (!/^[\x21-\x7e]+$/.test(key)) return leave("A key has no spaces and no letters beyond ASCII; look whether you have copied all of it, and nothing else.");
  await enter(key, "The daemon does not accept this key. Look for a typing error, or for the key of another daemon.");
});
$("#leave").addEventListener("click", () => leave());

// ---- rooms and messages

let searching;
$("#search").addEventListener("input", () => {
  clearTimeout(searching);
  searching = setTimeout(() => session?.refreshRooms(), 150);
});
$("#rooms").addEventListener("click", (event) => {
  const room = event.target.closest("button")?.dataset.room;
  if (room !== undefined) follow(room);
});
$("#follow").addEventListener("submit", (event) => {
  event.preventDefault();
  follow($("#room").value);
});
$("#pause").addEventListener("click", () => session?.tail.pause());
$("#clear").addEventListener("click", () => session?.tail.clear());

function follow(room) {
  $("#room").value = room;
  $("#to").value = room;
  for (const button of $("#rooms").querySelectorAll("button")) {
    if (button.dataset.room === room) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  session?.tail.follow(room);
}

// ---- publishing

let unsent; // the last message that was not answered, and the id that it was sent with

function parseData() {
  const json = $("#data").value;
  try {
    return { json, data: JSON.parse(json) };
  } catch (error) {
    return { problem: error.message };
  }
}

function describe() {
  const { data, problem } = parseData();
  $("#data-note").textContent =
    problem !== undefined ? "This is not JSON yet." :
    isOriginal($("#event").value, data) ? "room and timestamp are added, as POST /api/twine does." : "Sent as it is, as POST /v1/publish does.";
}
$("#data").addEventListener("input", describe);
$("#event").addEventListener("input", describe);
describe();

$("#publish").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("#publish-problem").textContent = "";
  $("#published").textContent = "";
  const { json, problem } = parseData();
  if (problem !== undefined) {
    $("#publish-problem").textContent = "Not sent, for the data is not JSON: " + problem;
    $("#data").focus();
    return;
  }
  const room = $("#to").value, name = $("#event").value;
  const text = JSON.stringify([room, name, json]);
  if (unsent?.text !== text) unsent = { text, id: "console-" + randomID() };
  const button = $("#publish button");
  button.disabled = true;
  try {
    await session.publish(room, name, json, unsent.id);
    unsent = undefined;
    $("#published").textContent = "sent to " + room;
  } catch (error) {
    if (error instanceof KeyRefused) leave(error.message);
    else $("#publish-problem").textContent = "Not sent: " + error.message;
  } finally {
    button.disabled = false;
  }
});

// crypto.randomUUID exists over HTTPS alone.
function randomID() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

const kept = sessionStorage.getItem(STORED);
if (kept) enter(kept, "The daemon does not accept the key any more.");
else leave();
