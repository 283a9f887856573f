// Drives Chromium: commands come in and answers go out, one JSON object a line.
//
//   {"do": "open", "page": "a", "url": "..."}         opens a page in a browser profile of its own, or in the one that
//                                                     "profile" names, or loads another address in an open page
//   {"do": "reload", "page": "a"}                     reloads a page
//   {"do": "close", "page": "a"}                      closes a page; its profile stays, with its cookies
//   {"do": "evaluate", "page": "a", "script": "..."}  answers with the expression's value
//   {"do": "cookies", "page": "a", "url": "..."}      answers with the cookies of that address
//   {"do": "emulate", "page": "a", "width": 390, "height": 844, "scheme": "dark"}
//                                                     gives a page another size, and a colour scheme, light or dark
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
const profiles = new Map();

async function open(name, profile = name) {
  if (!profiles.has(profile)) profiles.set(profile, await browser.newContext({ viewport: { width: 560, height: 560 } }));
  const page = await profiles.get(profile).newPage();
  page.on("console", (message) => report({ page: name, console: message.text() }));
  page.on("pageerror", (error) => report({ page: name, console: "uncaught: " + error.message }));
  pages.set(name, page);
  return page;
}

const commands = {
  async open({ page, profile, url }) {
    await (pages.get(page) ?? (await open(page, profile))).goto(url);
    return true;
  },
  async reload({ page }) {
    await pages.get(page).reload();
    return true;
  },
  async close({ page }) {
    await pages.get(page).close();
    pages.delete(page);
    return true;
  },
  evaluate: ({ page, script }) => pages.get(page).evaluate(script),
  cookies: ({ page, url }) => pages.get(page).context().cookies(url),
  async emulate({ page, width, height, scheme }) {
    await pages.get(page).setViewportSize({ width, height });
    await pages.get(page).emulateMedia({ colorScheme: scheme });
    return true;
  },
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
