// The unchanged socket.io-client, as the server of Node hands it out.
import { io } from "/socket.io/socket.io.esm.min.js";

const $ = (selector) => document.querySelector(selector);
const { room, servers } = await (await fetch("servers.json")).json();

function addPane({ name, url }, server) {
  const pane = $("template").content.firstElementChild.cloneNode(true);
  const status = pane.querySelector(".status"), lines = pane.querySelector("ol"), form = pane.querySelector("form");
  pane.dataset.server = name;
  pane.querySelector("h2").textContent = name;
  $("main").append(pane);

  const socket = io(url || location.origin);
  const show = (text) => {
    status.textContent = text;
    status.classList.toggle("live", socket.connected);
  };
  socket.on("connect", () => socket.emit("subscribe", room));
  socket.on("roomJoined", () => show(`in ${room}`));
  socket.on("connect_error", () => show("no connection, trying again"));
  socket.on("disconnect", () => show("connection lost, trying again"));
  socket.on("message", ({ text, via = "elsewhere" }) => {
    const item = document.createElement("li"), origin = document.createElement("small");
    origin.textContent = via;
    item.append(text, origin);
    lines.append(item);
    if (lines.children.length > 200) lines.firstChild.remove();
    lines.scrollTop = lines.scrollHeight;
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { text } = form.elements;
    $("#problem").textContent = "";
    try {
      const response = await fetch("say", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ server, text: text.value }),
      });
      if (!response.ok) throw new Error(await response.text());
      text.value = "";
    } catch (error) {
      $("#problem").textContent = `Not sent through ${name}: ${error.message}`;
    }
  });
}

servers.forEach(addPane);
