// What the page asks of the daemon. The key goes into a header, never into an address: those are kept in logs and histories.

// KeyRefused means that the daemon does not know the key.
export class KeyRefused extends Error {}

const ASK_TIMEOUT = 10_000; // ms
const SILENCE = 45_000; // ms without a byte after which a stream counts as dead; the daemon is silent for 15 s at most

export class API {
  #key;
  constructor(key) {
    this.#key = key;
  }

  // status and rooms return what package console's handlers answer.
  status = () => this.#json("status");
  rooms = (search) => this.#json("rooms?q=" + encodeURIComponent(search));

  // publish sends an event to a room. A "message" that is an object goes the way of the original API, which adds the
  // room and the time for Twine's own clients. Sending it again with the same id does not deliver it again.
  //
  // json is the data's text, which goes out as it is: JavaScript would round large numbers.
  async publish(room, event, json, id) {
    const original = isOriginal(event, JSON.parse(json));
    const [r, e] = [JSON.stringify(room), JSON.stringify(event)];
    const headers = { "Content-Type": "application/json", "Idempotency-Key": id };
    if (original) headers.Authorization = this.#key; // as it is, without a scheme
    await this.#ask(original ? "../api/twine" : "../v1/publish", {
      method: "POST",
      headers,
      body: original ? `{"room_id":${r},"payload":${json}}` : `{"room":${r},"event":${e},"data":${json}}`,
    });
  }

  // tail calls opened once, and on(event, data, id) for each event of the room's stream, until the stream ends or the
  // signal says so.
  async tail(room, after, opened, on, signal) {
    const silence = new AbortController();
    let watch;
    const alive = () => {
      clearTimeout(watch);
      watch = setTimeout(() => silence.abort(new Error("the daemon is silent")), SILENCE);
    };
    try {
      alive();
      const response = await this.#ask("tail?room=" + encodeURIComponent(room), {
        headers: after ? { "Last-Event-ID": after } : {},
        signal: AbortSignal.any([signal, silence.signal]),
      });
      opened();
      let text = "";
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        alive();
        const blocks = (text + value).split("\n\n");
        text = blocks.pop();
        for (const block of blocks) dispatch(block, on);
      }
    } finally {
      clearTimeout(watch);
    }
  }

  async #json(path) {
    return (await this.#ask(path, { signal: AbortSignal.timeout(ASK_TIMEOUT) })).json();
  }

  async #ask(path, { headers, ...options }) {
    const response = await fetch(path, {
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(ASK_TIMEOUT),
      ...options,
      headers: { Authorization: "Bearer " + this.#key, ...headers },
    });
    if (response.status === 401) throw new KeyRefused("The daemon does not accept this key.");
    if (!response.ok) throw new Error(await reason(response));
    return response;
  }
}

export const isOriginal = (event, data) =>
  event === "message" && typeof data === "object" && data !== null && !Array.isArray(data);

async function reason(response) {
  const text = (await response.text()).trim();
  try {
    return JSON.parse(text).detail || text;
  } catch {
    return text || "The daemon answered " + response.status + ".";
  }
}

function dispatch(block, on) {
  const fields = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  if (fields.event) on(fields.event, JSON.parse(fields.data), fields.id);
}
