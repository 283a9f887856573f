/** A message as subscribers get it: the publisher's payload with these two members set. */
export interface Message { room: string; timestamp: number; [member: string]: unknown }

/** A stretch of a room's history that could not be sent any more: messages in (from, to]. */
export interface Gap { room: string; from: string; to: string }

export type State = "disconnected" | "connecting" | "connected";

export interface Options {
  /** In order of preference. Default: ["websocket", "polling"]. */
  transports?: ("websocket" | "polling")[];
  /** Default: "/socket.io/". */
  path?: string;
}

export default class Twine {
  /** Connects to a Twine service, such as "https://twine.example.com". */
  constructor(host: string, options?: Options);

  readonly state: State;
  /** The id of the connection's socket, undefined before the first connect. */
  readonly id: string | undefined;

  /** Connects again after disconnect(). A connection that was lost comes back by itself. */
  connect(): this;
  /** Disconnects until connect() is called. */
  disconnect(): this;

  /**
   * Subscribes to a room. Resolves once the server has the subscription safe, however often the connection is lost until
   * then; rejects if the server refuses. It holds until unsubscribe(), through reconnects and reloads.
   */
  subscribe(room: string): Promise<void>;
  unsubscribe(room: string): Promise<void>;

  /** Calls callback with each message of the room, in order, each once. Returns a function that ends it. */
  listenOn(room: string, callback: (message: Message) => void): () => void;

  on(event: "state", callback: (state: State, reason?: string) => void): () => void;
  /** What was missed is more than the server keeps or sends: fetch it elsewhere. */
  on(event: "gap", callback: (gap: Gap) => void): () => void;
  on(event: "error", callback: (error: Error) => void): () => void;
  on(event: string, callback: (...args: any[]) => void): () => void;
  off(event: string, callback: (...args: any[]) => void): void;
}
