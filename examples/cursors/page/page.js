import { Client } from "./client.js";

const $ = (selector) => document.querySelector(selector);
const STEP = 0.02; // of the board, for each press of an arrow key

const client = new Client();
const cursors = new Map(); // by id
let name, you;
let at = { x: 0.5, y: 0.5 }, moved = false;

client.on("connect", async () => {
  $("#status").textContent = "connected";
  if (name) join(); // after the connection was lost, as someone new
});
client.on("disconnect", () => {
  $("#status").textContent = "connection lost, trying again";
  for (const id of [...cursors.keys()]) remove(id);
  you = undefined;
});
client.on("joined", (person) => { add(person); count(); });
client.on("left", (id) => { remove(id); count(); });
client.on("moved", ({ id, x, y }) => place(id, x, y));

async function join() {
  try {
    const welcome = await client.ask("join", { name });
    if (welcome.error) throw new Error(welcome.error);
    you = add(welcome.you);
    for (const person of welcome.others) add(person);
    place(you, at.x, at.y);
    $("#join").hidden = true;
    $("#board").hidden = false;
    $("#board").focus();
    count();
  } catch (error) {
    $("#problem").textContent = error.message;
  }
}

function add({ id, name, color }) {
  if (cursors.has(id)) return id;
  const cursor = document.createElement("div");
  cursor.className = "cursor";
  cursor.dataset.name = name;
  cursor.style.setProperty("--hue", color);
  const label = document.createElement("span");
  label.textContent = name;
  cursor.append(label);
  $("#board").append(cursor);
  cursors.set(id, cursor);
  return id;
}

function remove(id) {
  cursors.get(id)?.remove();
  cursors.delete(id);
}

function place(id, x, y) {
  const style = cursors.get(id)?.style;
  if (!style) return;
  style.left = x * 100 + "%";
  style.top = y * 100 + "%";
}

function count() {
  $("#status").textContent = cursors.size === 1 ? "you are alone; open this page in another window" : cursors.size + " people";
}

function go(x, y) {
  at = { x: Math.min(1, Math.max(0, x)), y: Math.min(1, Math.max(0, y)) };
  if (you) place(you, at.x, at.y);
  if (moved) return;
  moved = true;
  requestAnimationFrame(() => { // once a frame is enough
    moved = false;
    if (you) client.emit("move", at);
  });
}

$("#join").addEventListener("submit", (event) => {
  event.preventDefault();
  name = event.target.elements.name.value.trim();
  $("#problem").textContent = "";
  join();
});
$("#board").addEventListener("pointermove", (event) => {
  const box = $("#board").getBoundingClientRect();
  go((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
});
$("#board").addEventListener("keydown", (event) => {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [];
  if (dx === undefined) return;
  event.preventDefault();
  go(at.x + dx * STEP, at.y + dy * STEP);
});
