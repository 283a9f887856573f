//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
)

// transportsPage connects in the way that its address asks for. From another origin and with cookies, polling is put
// through all of a browser's rules.
const transportsPage = `<!doctype html>
<script type="importmap">{"imports": {"socket.io-client": "/modules/socket.io-client/dist/socket.io.esm.min.js"}}</script>
<script type="module">
import { io } from "socket.io-client";
const { room, transports } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
const seen = window.seen = { numbers: [], opened: "", upgraded: "", disconnects: 0 };
const socket = io(%q, { transports, withCredentials: true });
socket.io.on("open", () => {
  seen.opened = socket.io.engine.transport.name;
  socket.io.engine.on("upgrade", (transport) => { seen.upgraded = transport.name; });
});
socket.on("connect", () => socket.emit("subscribe", room));
socket.on("message", ({ n }) => seen.numbers.push(n));
socket.on("disconnect", () => { seen.disconnects++; });
</script>`

func TestBrowserTransportsWhileMessagesFlow(t *testing.T) {
	d := startDaemon(t)
	page := servePage(t, fmt.Sprintf(transportsPage, d.url()))
	b := startBrowser(t)
	for name, options := range variants {
		t.Run(name, func(t *testing.T) {
			stream := startStream(t, d, name)
			settings, err := json.Marshal(map[string]any{"room": name, "transports": options["transports"]})
			if err != nil {
				t.Fatal(err)
			}
			b.open(name, page.URL+"#"+string(settings))
			var seen struct {
				Numbers          []int
				Opened, Upgraded string
				Disconnects      int
			}
			look := func() bool {
				b.do(map[string]any{"do": "evaluate", "page": name, "script": "window.seen"}, &seen)
				return true
			}
			eventually(t, "messages come in, after the upgrade if there is one", func() bool {
				return look() && len(seen.Numbers) > 50 && (name != "upgrade" || seen.Upgraded == "websocket")
			})
			goal := stream.last() + 50
			eventually(t, "the page is where the stream is", func() bool {
				return look() && seen.Numbers[len(seen.Numbers)-1] >= goal
			})
			for i, number := range seen.Numbers {
				if number != seen.Numbers[0]+i {
					t.Fatalf("message %d follows %d", number, seen.Numbers[i-1])
				}
			}
			if want := options["transports"].([]string)[0]; seen.Opened != want || seen.Disconnects > 0 {
				t.Errorf("opened over %q, want %q; %d disconnects", seen.Opened, want, seen.Disconnects)
			}
		})
	}
}
