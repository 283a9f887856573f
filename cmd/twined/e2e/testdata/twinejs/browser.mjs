// Drives Chromium for the tests of twine.js: browser.mjs of testdata/js, with networks that fail. It runs in the folder
// that has the npm modules. In addition to what that one does:
//
//   {"do": "offline", "page": "a", "value": true}   takes the network from a page's profile, or gives it back
//   {"do": "reload", "page": "a"}                   does not wait until the page is loaded, only until it is a new one

import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const { chromium } = createRequire(process.cwd() + "/")("playwright-core");
const report = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
});
const pages = new Map();
const profiles = new Map();

async function open(name, profile = name) {
  if (!profiles.has(profile)) profiles.set(profile, await browser.newContext());
  const page = await profiles.get(profile).newPage();
  page.on("console", (message) => report({ page: name, console: message.text() }));
  page.on("pageerror", (error) => report({ page: name, console: "uncaught: " + error.message }));
  pages.set(name, page);
  return page;
}

const commands = {
  async open({ page, profile, url }) {
    await (pages.get(page) ?? (await open(page, profile))).goto(url);
  },
  async reload({ page }) {
    for (;;) {
      try { return await pages.get(page).reload({ waitUntil: "commit" }); } catch (error) {
        // The page before has just been exchanged for this one.
        if (!String(error).includes("Not attached to an active page")) throw error;
      }
    }
  },
  async close({ page }) {
    await pages.get(page).close();
    pages.delete(page);
  },
  evaluate: ({ page, script }) => pages.get(page).evaluate(script),
  cookies: ({ page, url }) => pages.get(page).context().cookies(url),
  offline: ({ page, value }) => pages.get(page).context().setOffline(value),
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    const answer = await commands[command.do](command);
    report({ answer: command.do === "evaluate" || command.do === "cookies" ? (answer ?? null) : true });
  } catch (error) {
    report({ error: String(error) });
  }
}
await browser.close();
