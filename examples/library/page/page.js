import { Client } from "./client.js";

const $ = (selector) => document.querySelector(selector);
const orders = new Map();

async function post(path, body) {
  $("#problem").textContent = "";
  const response = await fetch(path, { method: "POST", body: JSON.stringify(body ?? {}) });
  if (!response.ok) throw new Error(await response.text());
}

// attempt runs something that the person has asked for, and tells them if it fails.
async function attempt(what) {
  try {
    await what();
  } catch (error) {
    $("#problem").textContent = error.message;
  }
}

function show(order, user) {
  if (orders.get(order.number)?.ready) return; // it is older than what is shown
  orders.set(order.number, order);
  const item = document.createElement("li");
  item.className = order.ready ? "ready" : "";
  const text = document.createElement("span");
  text.textContent = `${order.number}. ${order.dish}, for ${order.by}`;
  item.append(text, order.ready ? "ready" : user === "cook" ? readyButton(order) : "in the kitchen");
  item.dataset.number = order.number;
  const shown = $(`#orders [data-number="${order.number}"]`);
  if (shown) shown.replaceWith(item);
  else $("#orders").prepend(item);
}

function readyButton(order) {
  const button = document.createElement("button");
  button.textContent = "It is ready";
  button.onclick = () => attempt(() => post(`orders/${order.number}/ready`));
  return button;
}

function start(user) {
  const client = new Client();
  client.on("order", (order) => show(order, user));
  client.on("disconnect", () => ($("#status").textContent = "connection lost, trying again"));
  client.on("connect", (recovered) => {
    $("#status").textContent = "signed in as " + user;
    // Who was recovered has missed nothing. Otherwise what there is comes from the application, while what happens
    // meanwhile comes as an event.
    if (!recovered) attempt(async () => { for (const order of await (await fetch("orders")).json()) show(order, user); });
  });
}

$("#login").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = event.target.elements.name.value.trim();
  attempt(async () => {
    await post("login", { name });
    $("#login").hidden = true;
    $("main").hidden = false;
    start(name);
  });
});

$("#place").addEventListener("submit", (event) => {
  event.preventDefault();
  const { dish } = event.target.elements;
  attempt(async () => {
    await post("orders", { dish: dish.value });
    dish.value = "";
  });
});
