// Publishes numbered messages with the unchanged twine-server-library, one after the other. The library prints the
// status of each.
//
//   node publisher.mjs URL KEY ROOM COUNT

import TwineServerLibrary from "twine-server-library";

const [url, key, room, count] = process.argv.slice(2);
const twine = new TwineServerLibrary(url, key);
for (let n = 0; n < Number(count); n++) await twine.publish(room, { n });
