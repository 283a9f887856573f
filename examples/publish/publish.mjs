// Publishes a message with fetch:  TWINE_URL=… TWINE_API_KEY=… node publish.mjs ROOM JSON

const { TWINE_URL = "http://127.0.0.1:3005", TWINE_API_KEY } = process.env;
const [room, json] = process.argv.slice(2);
console.log(await publish({ room, stamp: true, data: JSON.parse(json) }));

/** Resolves with {offset} once the message is stored. It is sent again, under the same id, until there is a clear answer. */
export async function publish(message, attempts = 5) {
  const body = JSON.stringify({ id: crypto.randomUUID(), ...message });
  for (let attempt = 1; ; attempt++) {
    let failure, wait = Math.min(100 * 2 ** attempt, 5000) * (0.5 + Math.random() / 2);
    try {
      const response = await fetch(`${TWINE_URL}/v1/publish`, {
        method: "POST",
        headers: { Authorization: `Bearer ${TWINE_API_KEY}`, "Content-Type": "application/json" },
        body,
        signal: AbortSignal.timeout(20_000),
      });
      const answer = await response.json();
      if (response.ok) return answer;
      failure = new Error(`${response.status} ${answer.detail}`);
      if (response.status < 500 && response.status !== 429) attempts = 0; // it will not do better next time
      wait = Math.max(wait, 1000 * (Number(response.headers.get("Retry-After")) || 0));
    } catch (error) {
      failure = error; // no answer, or only a part of it
    }
    if (attempt >= attempts) throw failure;
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
