// The messages of a room as they come.

import { KeyRefused } from "./api.js";
import { $, element } from "./dom.js";

const SHOWN = 200; // messages in the list
const RETRY_MIN = 500, RETRY_MAX = 10_000; // ms

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false });

export class Tail {
  #api; #refused; #stop; #held = null; #room;

  // refused is called when the key is not accepted any more.
  constructor(api, refused) {
    this.#api = api;
    this.#refused = refused;
  }

  get room() {
    return this.#room;
  }

  async follow(room) {
    this.end();
    this.clear();
    this.#room = room;
    const stop = (this.#stop = new AbortController());
    let after, retry = RETRY_MIN;
    this.pause(false);
    $("#pause").disabled = false;
    this.#say("connecting to " + room);
    while (!stop.signal.aborted) {
      try {
        await this.#api.tail(room, after, () => this.#say("following " + room), (event, data, id) => {
          if (stop.signal.aborted) return;
          retry = RETRY_MIN;
          after = id ?? after;
          this.#add(event, data);
        }, stop.signal);
      } catch (error) {
        if (stop.signal.aborted) return;
        if (error instanceof KeyRefused) return this.#refused(error.message);
        this.#say("connection lost, trying again");
      }
      await new Promise((resolve) => setTimeout(resolve, retry * (0.5 + Math.random())));
      retry = Math.min(2 * retry, RETRY_MAX);
    }
  }

  end() {
    this.#stop?.abort();
    this.#room = undefined;
    $("#pause").disabled = true;
    this.#say("no room chosen");
  }

  // pause holds new messages back, as many as the list would show.
  pause(on = !this.#held) {
    const held = this.#held;
    this.#held = on ? [] : null;
    $("#pause").textContent = on ? "Resume" : "Pause";
    $("#pause").setAttribute("aria-pressed", String(on));
    if (!on && held) for (const [event, data] of held) this.#add(event, data);
  }

  clear() {
    $("#messages").replaceChildren();
    if (this.#held) this.#held.length = 0;
    $("#empty").hidden = false;
  }

  #say(text) {
    $("#tail-state").textContent = text;
  }

  #add(event, data) {
    if (this.#held) {
      this.#held.push([event, data]);
      if (this.#held.length > SHOWN) this.#held.shift();
      $("#pause").textContent = `Resume (${this.#held.length}${this.#held.length === SHOWN ? "+" : ""})`;
      return;
    }
    const item = event === "message" ? message(data) : note(event, data);
    if (!item) return;
    const list = $("#messages");
    const atTop = list.scrollTop < 8;
    const height = list.scrollHeight;
    list.prepend(item);
    while (list.childElementCount > SHOWN) list.lastElementChild.remove();
    if (!atTop) list.scrollTop += list.scrollHeight - height; // what is being read stays where it is
    $("#empty").hidden = true;
  }
}

function message(m) {
  const marks = [];
  if (m.cut) marks.push(m.bytes.toLocaleString() + " bytes");
  if (m.attachments) marks.push(m.attachments + (m.attachments === 1 ? " binary value" : " binary values"));
  if (m.rooms.length === 0) marks.push("to everyone");
  else if (m.rooms.length > 1) marks.push("to " + m.rooms.length + " rooms");
  const sent = new Date(m.time);
  return element("li", { title: "offset " + m.offset },
    element("time", { dateTime: m.time }, time.format(sent)),
    element("b", {}, m.event),
    element("code", {}, readable(m.text) + (m.cut ? "…" : "")),
    ...marks.map((mark) => element("small", {}, mark)));
}

// readable sets JSON with spaces, and writes characters out that the publisher has escaped, except those that it has to.
function readable(json) {
  return json.replace(/"(?:[^"\\]|\\.)*"?|[,:]\s*/g, (token) => (token[0] === '"' ? unescaped(token) : token[0] + " "));
}

function unescaped(string) {
  return string.replace(/\\(?:u([0-9a-f]{4})|.)/gi, (escape, code) => {
    const character = code && String.fromCharCode(parseInt(code, 16));
    return character && /[^\p{Cc}\p{Cf}"\\]/u.test(character) ? character : escape;
  });
}

function note(event, data) {
  switch (event) {
    case "skipped":
      return element("li", { className: "missing" }, `${data.count.toLocaleString()} more came too fast to show`);
    case "gap":
      return element("li", { className: "missing" }, `messages between ${data.from} and ${data.to} cannot be shown`);
  }
}
