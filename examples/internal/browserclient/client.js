// A small Socket.IO client over WebSocket: events, acknowledgements, and connection state recovery.

const RETRY_MIN = 300, RETRY_MAX = 3000; // ms between attempts to connect, before jitter

export class Client {
  #listeners = new Map();
  #answers = new Map(); #asked = 0;
  #socket; #watchdog; #patience; #retry = RETRY_MIN;
  #pid; #offset; // what the server recovers the session by
  connected = false;

  constructor(server = location.href) {
    this.url = new URL("/socket.io/?EIO=4&transport=websocket", server);
    this.url.protocol = this.url.protocol.replace("http", "ws");
    this.#open();
  }

  // Besides the server's events there are "connect", with whether the session was recovered, and "disconnect".
  on(event, listener) {
    this.#listeners.set(event, listener);
    return this;
  }

  // emit does nothing while there is no connection.
  emit(event, ...args) {
    if (this.connected) this.#socket.send("42" + JSON.stringify([event, ...args]));
  }

  // ask returns a promise of the first argument of the server's acknowledgement.
  ask(event, ...args) {
    if (!this.connected) return Promise.reject(new Error("not connected"));
    const id = this.#asked++;
    this.#socket.send("42" + id + JSON.stringify([event, ...args]));
    return new Promise((resolve, reject) => this.#answers.set(id, { resolve, reject }));
  }

  #open() {
    this.#socket = new WebSocket(this.url);
    this.#socket.onmessage = ({ data }) => this.#packet(data);
    this.#socket.onclose = () => {
      clearTimeout(this.#watchdog);
      for (const { reject } of this.#answers.values()) reject(new Error("disconnected"));
      this.#answers.clear();
      this.connected = false;
      this.#call("disconnect");
      setTimeout(() => this.#open(), this.#retry * (0.5 + Math.random()));
      this.#retry = Math.min(this.#retry * 2, RETRY_MAX);
    };
  }

  #packet(data) {
    if (typeof data !== "string") return; // the examples send no binary values
    if (data[0] === "0") {
      const { pingInterval, pingTimeout } = JSON.parse(data.slice(1));
      this.#patience = pingInterval + pingTimeout;
      this.#socket.send("40" + (this.#pid ? JSON.stringify({ pid: this.#pid, offset: this.#offset }) : ""));
    } else if (data === "2") {
      this.#socket.send("3");
    } else if (data[0] === "4") {
      this.#message(...data.match(/^4(\d)(\d*)([^]*)$/).slice(1));
    }
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#socket.close(), this.#patience);
  }

  #message(type, id, body) {
    const content = body && JSON.parse(body);
    switch (type) {
      case "0": { // CONNECT
        const recovered = content.pid !== undefined && content.pid === this.#pid;
        this.#pid = content.pid;
        this.#retry = RETRY_MIN;
        this.connected = true;
        this.#call("connect", recovered);
        break;
      }
      case "2": { // EVENT
        this.#call(...content);
        const last = content.at(-1);
        if (this.#pid && typeof last === "string") this.#offset = last;
        break;
      }
      case "3": // ACK
        this.#answers.get(Number(id))?.resolve(content[0]);
        this.#answers.delete(Number(id));
        break;
      case "4": // CONNECT_ERROR
        this.#call("refused", content.message);
    }
  }

  #call(event, ...args) {
    this.#listeners.get(event)?.(...args);
  }
}
