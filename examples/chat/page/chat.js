import { TwineSocket } from "./socket.js";

const $ = (selector) => document.querySelector(selector);

function addLine(text, name, mine) {
  const item = document.createElement("li");
  if (name) {
    const who = document.createElement("b");
    who.textContent = name;
    item.append(who);
    if (mine) item.className = "mine";
  } else {
    item.className = "note";
  }
  item.append(text);
  $("#lines").append(item);
  item.scrollIntoView();
}

function join(name, room) {
  const socket = new TwineSocket($("meta[name=twined]").content);
  socket.on("open", () => {
    $("#status").textContent = `in ${room} as ${name}`;
    $("#status").className = "live";
    socket.emit("subscribe", room);
  });
  socket.on("close", () => {
    $("#status").textContent = "connection lost, trying again";
    $("#status").className = "";
  });
  socket.on("roomJoined", (text) => addLine(text));
  socket.on("message", (message) => addLine(message.text, message.name, message.name === name));

  $("#say").addEventListener("submit", async (event) => {
    event.preventDefault();
    const input = event.target.elements.text;
    $("#problem").textContent = "";
    try {
      const response = await fetch("/say", {
        method: "POST",
        body: JSON.stringify({ room, name, text: input.value }),
      });
      if (!response.ok) throw new Error(await response.text());
      input.value = "";
    } catch (error) {
      $("#problem").textContent = `Not sent: ${error.message}`;
    }
    input.focus();
  });
}

$("#join").addEventListener("submit", (event) => {
  event.preventDefault();
  const { name, room } = event.target.elements;
  $("#join").hidden = true;
  $("main").hidden = false;
  $("#say").elements.text.focus();
  join(name.value, room.value);
});
