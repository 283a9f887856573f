//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestTwinejsMigration runs a page that was written for the original library with that, and with twine.js: nothing but
// the import is changed.
func TestTwinejsMigration(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, library := range []string{"original", "twine.js"} {
		d := startDaemon(t)
		from := "/modules/twine-client-library/dist/index.js"
		if library == "twine.js" {
			from = d.url() + "/twine.js"
		}
		page := strings.NewReplacer("LIBRARY", from, "HOST", d.url()).Replace(readTwineFile(t, "migrate.html"))
		p := &twinePages{startTwineBrowser(t), servePage(t, page).URL}
		p.open("a", p.url)
		members := func(room string, want int) {
			t.Helper()
			eventually(t, fmt.Sprintf("%d are in %s", want, room), func() bool {
				_, text := d.do(t, "GET", "/v1/rooms/"+strings.ReplaceAll(room, " ", "%20"), http.Header{"Authorization": {d.key}}, nil)
				return strings.Contains(text, fmt.Sprintf(`"sockets":%d`, want))
			})
		}
		// The original attaches its listeners a while after it has its socket.
		listening := func(tab string, count int) {
			t.Helper()
			eventually(t, "the page listens", func() (yes bool) {
				p.ask(tab, fmt.Sprintf(`(twine.socket.listeners?.("message").length ?? %d) >= %[1]d`, count), &yes)
				return yes
			})
		}
		got := func() (distinct []string) {
			for _, line := range consoleWith(p.browser, "a", "got ") {
				if !slices.Contains(distinct, line) {
					distinct = append(distinct, line)
				}
			}
			return distinct
		}
		arrived := func(room string, n int) {
			t.Helper()
			waitConsole(t, p.browser, "a", fmt.Sprintf("got %s: %d %s number", room, n, room), 1)
		}
		members("room A", 1)
		listening("a", 2)
		p.publish(d, "room A", 1)
		p.publish(d, "room B", 1)
		arrived("room A", 1)
		p.evaluate("a", `{ const done = twine.subscribe("room B"); }`)
		members("room B", 1)
		p.publish(d, "room B", 2)
		arrived("room B", 2)
		p.evaluate("a", `{ const done = twine.unsubscribe("room A"); }`)
		members("room A", 0)
		p.publish(d, "room A", 2)
		p.evaluate("a", `{ const done = twine.disconnect(); }`)
		members("room B", 0)
		p.publish(d, "room B", 3)
		p.evaluate("a", `{ const done = twine.connect(); }`)
		members("room B", 1)
		p.publish(d, "room B", 4)
		arrived("room B", 4)
		p.reload("a")
		eventually(t, "the page is there", func() (there bool) { p.ask("a", "window.twine?.socket?.connected === true", &there); return there })
		listening("a", 2)
		members("room A", 1)
		p.publish(d, "room B", 5) // it was not unsubscribed from that
		p.publish(d, "room A", 3)
		arrived("room B", 5)
		arrived("room A", 3)
		seen[library] = strings.Join(got(), "\n")
		p.checkNoErrors("a")
	}
	if seen["original"] != seen["twine.js"] || !strings.Contains(seen["twine.js"], "got room B: 3") {
		t.Errorf("with the original library the page sees\n%s\nwith twine.js\n%s", seen["original"], seen["twine.js"])
	}
}

// TestTwinejsWithCookie has a browser whose other pages use the original library: it has their cookie, by which the
// server puts a new connection into the rooms that one of them has left behind.
func TestTwinejsWithCookie(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	old := servePage(t, fmt.Sprintf(originalPage, d.url()))
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	p.openTab("old", "the only profile", old.URL)
	waitConsole(t, p.browser, "old", "You have joined room: room A", 1)
	eventually(t, "the library listens", func() (yes bool) { p.ask("old", `twine.socket.listeners("message").length > 0`, &yes); return yes })
	p.publish(d, "room A", 1)
	waitConsole(t, p.browser, "old", "room A: ", 1)
	p.start("a", "room B")
	p.publish(d, "room B", 1)
	p.waitFor("a", "room B", 1)
	p.close("old")
	eventually(t, "its connection is gone", func() bool { return metric(t, d, "twine_clients") == "1" })
	p.publish(d, "room A", 2)
	for n := 2; n < 5; n++ {
		p.reload("a")
		p.publish(d, "room B", n)
		p.waitFor("a", "room B", n)
	}
	p.checkAll("a", "room B", 1, 4)
	p.evaluate("a", `listen("room A"); subscribe("room A")`)
	waitConsole(t, p.browser, "a", "subscribed room A", 1)
	p.publish(d, "room A", 3)
	p.waitFor("a", "room A", 3)
	for n := 4; n < 6; n++ {
		p.reload("a")
		p.publish(d, "room B", n+1)
		p.publish(d, "room A", n)
		p.waitFor("a", "room B", n+1)
		p.evaluate("a", `listen("room A")`)
		p.waitFor("a", "room A", n)
	}
	p.checkAll("a", "room A", 3, 5)
	p.checkNoErrors("a")
}

// TestTwinejsContentSecurityPolicy has a page that allows no more than it has to.
func TestTwinejsContentSecurityPolicy(t *testing.T) {
	t.Parallel()
	for _, transport := range twinejsTransports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			d := startDaemon(t)
			p := startTwinePages(t, d.url()+"/twine.js", d.url())
			page := strings.NewReplacer("LIBRARY", d.url()+"/twine.js", "HOST", d.url(), `<script type="module">`, `<script type="module" nonce="n">`).
				Replace(readTwineFile(t, "page.html"))
			connect := map[string]string{"websocket": "ws://" + d.host, "polling": d.url()}[transport]
			p.url = servePageWith(t, page, http.Header{"Content-Security-Policy": {"default-src 'none'; script-src 'nonce-n' " + d.url() +
				"; connect-src " + connect + "; require-trusted-types-for 'script'; trusted-types 'none'; sandbox allow-scripts allow-same-origin"}}).URL
			p.url += "?" + transport
			p.start("a", "r")
			p.publish(d, "r", 1)
			p.waitFor("a", "r", 1)
			p.reload("a")
			p.publish(d, "r", 2)
			p.waitFor("a", "r", 2)
			p.checkAll("a", "r", 1, 2)
			for _, line := range p.console("a") {
				if strings.Contains(line, "Content Security Policy") || strings.Contains(line, "Refused") {
					t.Error(line)
				}
			}
			p.checkNoErrors("a")
		})
	}
}

// TestTwinejsWithoutStorage has a page that the browser gives no storage: all works but the reload.
func TestTwinejsWithoutStorage(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	page := strings.NewReplacer("LIBRARY", d.url()+"/twine.js", "HOST", d.url()).Replace(readTwineFile(t, "migrate.html"))
	p.url = servePageWith(t, page, http.Header{"Content-Security-Policy": {"sandbox allow-scripts"}}).URL
	p.open("a", p.url)
	waitSubscribed := func() {
		t.Helper()
		eventually(t, "it is subscribed", func() (yes bool) {
			p.ask("a", `Promise.resolve(window.twine?.position("room A")).then((p) => p !== undefined)`, &yes)
			return yes
		})
	}
	waitSubscribed()
	p.publish(d, "room A", 1)
	waitConsole(t, p.browser, "a", "got room A: 1", 1)
	p.reload("a")
	waitSubscribed()
	p.publish(d, "room A", 2)
	waitConsole(t, p.browser, "a", "got room A: 2", 1)
	p.checkNoErrors("a")
}
