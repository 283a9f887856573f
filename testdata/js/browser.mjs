// Drives Chromium: commands come in and answers go out, one JSON object a line.
//
//   {"do": "open", "page": "a", "url": "..."}         opens a page in a browser profile of its own, or loads another
//                                                     address in it
//   {"do": "evaluate", "page": "a", "script": "..."}  answers with the expression's value
//   {"do": "cookies", "page": "a", "url": "..."}      answers with the cookies of that address
//   {"do": "screenshot", "page": "a", "path": "..."}
//
// Every command is answered with {"answer": ...} or {"error": "..."}; what a page writes to its console is reported as
// {"page": "a", "console": "..."} in between. The end of standard input ends the browser.

import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const report = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
  ],
});
const pages = new Map();

async function open(name) {
  const context = await browser.newContext({ viewport: { width: 560, height: 560 } });
  const page = await context.newPage();
  page.on("console", (message) => report({ page: name, console: message.text() }));
  page.on("pageerror", (error) => report({ page: name, console: "uncaught: " + error.message }));
  pages.set(name, page);
  return page;
}

const commands = {
  async open({ page, url }) {
    await (pages.get(page) ?? (await open(page))).goto(url);
    return true;
  },
  evaluate: ({ page, script }) => pages.get(page).evaluate(script),
  cookies: ({ page, url }) => pages.get(page).context().cookies(url),
  async screenshot({ page, path }) {
    await pages.get(page).screenshot({ path });
    return true;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    report({ answer: (await commands[command.do](command)) ?? null });
  } catch (error) {
    report({ error: String(error) });
  }
}
await browser.close();
