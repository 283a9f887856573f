/** A message as subscribers get it: the publisher's payload with these two members set. */
export interface Message { room: string; timestamp: number; [member: string]: unknown }

/**
 * A stretch of a room's history that this client did not get and will not: what lies after `from`, up to `to`. It is more
 * than the server keeps, or more than it sends to one that comes back. GET /v1/rooms/ROOM/history may still have it.
 */
export interface Gap { room: string; from: string; to: string }

export type State = "disconnected" | "connecting" | "connected";

export interface Options {
  /** In order of preference. Default: ["websocket", "polling"]. With both, polling is used where WebSocket is blocked. */
  transports?: ("websocket" | "polling")[];
  /** Default: "/socket.io/". */
  path?: string;
  /**
   * Whether a reload of the page, in the same tab, goes on where the page was: with the rooms that it was subscribed to,
   * each at its position. The positions are in sessionStorage. They are exact whenever the page is told that it goes; one
   * that is killed may get what came in its last second again. Default: true.
   */
  resume?: boolean;
}

export interface SubscribeOptions {
  /** A position in the room, see position(): what came after it is handed out first. Default: what this tab knows. */
  after?: string;
}

export default class Twine {
  /** Connects to a Twine service, such as "https://twine.example.com". "" is where the page came from. */
  constructor(host: string, options?: Options);

  readonly state: State;
  readonly connected: boolean;
  /** The id of the connection's socket, another one for each connection; undefined before the first. */
  readonly id: string | undefined;
  /** The client itself. The original library has its socket here. */
  readonly socket: this;

  /** Connects again after disconnect(). A connection that was lost comes back by itself. */
  connect(): this;
  /** Disconnects until connect() is called. The subscriptions stay, and what comes meanwhile is handed out after that. */
  disconnect(): this;

  /**
   * Subscribes to a room, or to several. Resolves once the server has the subscription, however often the connection is
   * lost until then, and what was missed is handed out; rejects if the server refuses. It holds until unsubscribe(),
   * through reconnects and reloads. A room that this tab was not subscribed to begins with what comes from now on.
   */
  subscribe(room: string | string[], options?: SubscribeOptions): Promise<void>;
  unsubscribe(room: string | string[]): Promise<void>;

  /**
   * How far this client is in a room that it is subscribed to: listeners have been called with everything up to there.
   * To be kept by an application that wants to go on at the same place elsewhere, or another day; see subscribe().
   */
  position(room: string): string | undefined;

  /**
   * Calls callback with each message of the room, in order, each once. The first listener also gets what has come before
   * it, up to 1,000 messages. Returns a function that ends it; that may be awaited, as the result in the original library.
   */
  listenOn(room: string, callback: (message: Message) => void): (() => void) & PromiseLike<void>;

  on(event: "state", callback: (state: State, reason?: string) => void): () => void;
  /** Something is missing. All that comes later comes in order. */
  on(event: "gap", callback: (gap: Gap) => void): () => void;
  /** The server refused the connection, or a subscription. */
  on(event: "error", callback: (error: Error) => void): () => void;
  /** "connect" and "disconnect", which has a reason, as with the original library's socket. */
  on(event: "connect", callback: () => void): () => void;
  on(event: "disconnect", callback: (reason?: string) => void): () => void;
  /** The messages of all rooms. */
  on(event: "message", callback: (message: Message) => void): () => void;
  /** Any other event that was published to a room. */
  on(event: string, callback: (...args: any[]) => void): () => void;
  off(event: string, callback: (...args: any[]) => void): void;
}
