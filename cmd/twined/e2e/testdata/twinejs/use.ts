// What a program may do with twine.js, and what it may not. The compiler checks it against the declarations.
import Twine, { type Gap, type Message, type Options, type State, type SubscribeOptions } from "./twine.js";

const options: Options = { path: "/socket.io/", transports: ["websocket", "polling"], resume: false };
const twine: Twine = new Twine("https://twine.example.com", options);

// As with the original library.
twine.connect();
twine.disconnect();
twine.subscribe("room");
twine.unsubscribe("room");
twine.listenOn("room", (data) => { console.log(data.room, data.timestamp.toFixed(), data["anything"]); });
await twine.listenOn("room", () => {});
twine.socket.on("disconnect", (reason?: string) => { console.log(reason); });

// More than that.
const after: SubscribeOptions = { after: "1767225600000-0" };
const done: Promise<void> = twine.subscribe(["a", "b"], after);
await done;
await twine.unsubscribe(["a", "b"]);
const stop: () => void = twine.listenOn("room", (m: Message) => { console.log(m); });
stop();
const position: string | undefined = twine.position("room");
const state: State = twine.state;
const id: string | undefined = twine.id;
const connected: boolean = twine.connected;
const off: () => void = twine.on("state", (s: State, reason?: string) => { console.log(s, reason); });
twine.on("gap", ({ room, from, to }: Gap) => { console.log(room, from, to); });
twine.on("error", (e) => { console.log(e.message); });
twine.on("message", (m) => { console.log(m.room); });
twine.on("news", (title: string, n: number) => { console.log(title, n); });
twine.off("state", off);
console.log(position, state, id, connected);

// @ts-expect-error: a host is needed
new Twine();
// @ts-expect-error: there is no such transport
new Twine("", { transports: ["carrier pigeon"] });
// @ts-expect-error: a room is a string
twine.subscribe(5);
// @ts-expect-error: a position is a string
twine.subscribe("room", { after: 5 });
// @ts-expect-error: state changes by itself
twine.state = "connected";
// @ts-expect-error: there is no such state
if (twine.state === "lost") stop();
// @ts-expect-error: there is no such member
twine.publish("room", {});
