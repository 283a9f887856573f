// The little of Engine.IO and Socket.IO that a page needs to speak with twined over a WebSocket. Real applications use
// socket.io-client, which does more; this one shows that there is no magic in it.

const RETRY_MIN = 500; // ms
const RETRY_MAX = 5000;

export class TwineSocket {
  #listeners = new Map();
  #url;
  #socket;
  #watchdog;
  #patience; // ms without a ping after which the connection counts as dead
  #retry = RETRY_MIN;

  constructor(server) {
    this.#url = new URL("/socket.io/?EIO=4&transport=websocket", server);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    this.#connect();
  }

  // Besides the server's events there are "open" and "close", each as often as it happens.
  on(event, listener) {
    this.#listeners.set(event, listener);
  }

  emit(event, ...args) {
    this.#socket.send("42" + JSON.stringify([event, ...args]));
  }

  #connect() {
    this.#socket = new WebSocket(this.#url);
    this.#socket.onmessage = (message) => this.#packet(message.data);
    this.#socket.onclose = () => {
      clearTimeout(this.#watchdog);
      this.#dispatch("close");
      setTimeout(() => this.#connect(), this.#retry * (0.5 + Math.random()));
      this.#retry = Math.min(this.#retry * 2, RETRY_MAX);
    };
  }

  #packet(data) {
    if (typeof data !== "string") return; // binary values are not used in this chat
    switch (data[0]) {
      case "0": {
        const { pingInterval, pingTimeout } = JSON.parse(data.slice(1));
        this.#patience = pingInterval + pingTimeout;
        this.#alive();
        this.#socket.send("40");
        break;
      }
      case "2":
        this.#alive();
        this.#socket.send("3");
        break;
      case "4":
        this.#message(data.slice(1));
    }
  }

  #message(packet) {
    switch (packet[0]) {
      case "0":
        this.#retry = RETRY_MIN;
        this.#dispatch("open");
        break;
      case "2":
        this.#dispatch(...JSON.parse(packet.slice(1)));
    }
  }

  #alive() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#socket.close(), this.#patience);
  }

  #dispatch(event, ...args) {
    this.#listeners.get(event)?.(...args);
  }
}
