//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// TestTwinejsReload reloads a page again and again in the middle of a stream.
func TestTwinejsReload(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"websocket", "polling"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			d := startDaemon(t, longReplay...)
			p := startTwinePages(t, d.url()+"/twine.js", d.url())
			p.url += "?" + transport
			p.start("a", "r")
			stream := startStream(t, d, "r")
			const reloads = 4
			for i := range reloads {
				p.waitFor("a", "r", stream.last()+10)
				p.reload("a")
				if i%2 > 0 {
					p.reload("a") // before anything has come
				}
			}
			p.waitFor("a", "r", stream.last()+10)
			stream.stop()
			p.waitFor("a", "r", stream.last())
			p.checkAll("a", "r", 1, stream.last())
			p.checkNoErrors("a")
		})
	}
}

// TestTwinejsReloadRooms reloads a page whose rooms have positions of their own: one that is quiet, one that the page
// joined late, one that it left and joined again.
func TestTwinejsReloadRooms(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	p.start("a", "quiet", "busy", "left")
	p.publish(d, "late", 1) // before anybody is there
	p.publish(d, "left", 1)
	p.publish(d, "busy", 1, 2, 3)
	p.waitFor("a", "busy", 3)
	p.evaluate("a", `twine.unsubscribe("left")`)
	p.publish(d, "left", 2)
	p.publish(d, "late", 2)
	p.evaluate("a", `listen("late"); subscribe("late")`)
	p.evaluate("a", `subscribe("left")`)
	// The page goes while these are on their way.
	p.publish(d, "late", 3)
	p.publish(d, "left", 3)
	p.waitFor("a", "late", 3)
	p.waitFor("a", "left", 3)
	p.openTab("a", "", "about:blank")
	p.publish(d, "quiet", 1)
	p.publish(d, "busy", 4)
	p.publish(d, "late", 4)
	p.publish(d, "left", 4)
	p.openTab("a", "", p.url+`#["quiet","busy","late","left"]`)
	p.publish(d, "quiet", 2)
	p.publish(d, "busy", 5)
	p.publish(d, "late", 5)
	p.publish(d, "left", 5)
	p.waitFor("a", "quiet", 2)
	p.waitFor("a", "busy", 5)
	p.waitFor("a", "late", 5)
	p.waitFor("a", "left", 5)
	p.checkAll("a", "quiet", 1, 2)
	p.checkAll("a", "busy", 1, 5)
	p.checkAll("a", "late", 3, 5)
	if got := fmt.Sprint(p.got("a", "left")); got != "[1 3 4 5]" {
		t.Errorf("the room that was left for a while has %s", got)
	}
	p.checkNoErrors("a")
}

// TestTwinejsReloadAtOnce reloads a page right after it has subscribed, with nothing received that would tell a position.
func TestTwinejsReloadAtOnce(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	p.start("a", "busy")
	p.publish(d, "late", 1)
	p.evaluate("a", `listen("late"); subscribe("late")`)
	waitConsole(t, p.browser, "a", "subscribed late", 1)
	p.openTab("a", "", "about:blank")
	p.publish(d, "late", 2)
	p.openTab("a", "", p.url+`#["busy","late"]`)
	p.publish(d, "late", 3)
	p.waitFor("a", "late", 3)
	p.checkAll("a", "late", 2, 3)
	p.checkNoErrors("a")
}

// TestTwinejsConnectAgain has a page come back after it, or the server, has ended the connection on purpose.
func TestTwinejsConnectAgain(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	p.start("a", "r", "s")
	p.publish(d, "r", 1)
	p.waitFor("a", "r", 1)
	p.evaluate("a", "twine.disconnect()")
	p.publish(d, "r", 2)
	p.publish(d, "s", 1)
	p.evaluate("a", "twine.connect()")
	p.waitFor("a", "r", 2)
	p.publish(d, "r", 3)
	p.waitFor("a", "r", 3)

	var id string
	p.ask("a", "twine.id", &id)
	response, text := d.do(t, "DELETE", "/v1/sockets/"+id, http.Header{"Authorization": {d.key}}, nil)
	if response.StatusCode/100 != 2 {
		t.Fatalf("disconnect: %s %s", response.Status, text)
	}
	waitConsole(t, p.browser, "a", "disconnected by the server", 1)
	p.publish(d, "r", 4)
	p.publish(d, "s", 2)
	p.evaluate("a", "twine.connect()")
	p.waitFor("a", "r", 4)
	p.waitFor("a", "s", 2)
	p.checkAll("a", "r", 1, 4)
	p.checkAll("a", "s", 1, 2)
	p.checkNoErrors("a")
}

// TestTwinejsTabKilled has a tab end without its page being told, as on a phone, and come back.
func TestTwinejsTabKilled(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	p.start("a", "r")
	p.publish(d, "r", 1, 2, 3)
	p.waitFor("a", "r", 3)
	p.evaluate("a", `for (const name of ["pagehide", "visibilitychange"]) addEventListener(name, (e) => e.stopImmediatePropagation(), true)`)
	eventually(t, "the position is kept", func() (kept bool) {
		p.ask("a", "Object.keys(sessionStorage).some((k) => k.startsWith('twine'))", &kept)
		return kept
	})
	p.openTab("a", "", "about:blank")
	p.publish(d, "r", 4)
	p.openTab("a", "", p.url+`#["r"]`)
	p.waitFor("a", "r", 4)
	p.checkAll("a", "r", 1, 4)
	p.checkNoErrors("a")
}

// TestTwinejsFrozen has a page that the browser keeps aside when its user goes elsewhere, and shows again as it was. The
// browser under test does not do that by itself, so its events are made.
func TestTwinejsFrozen(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	p.start("a", "r")
	p.publish(d, "r", 1)
	p.waitFor("a", "r", 1)
	p.evaluate("a", `dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }))`)
	eventually(t, "it has no connection", func() bool { return metric(t, d, "twine_clients") == "0" })
	p.evaluate("a", `dispatchEvent(new Event("online")); twine.connect()`) // not the time for it
	p.publish(d, "r", 2)
	p.evaluate("a", `dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))`)
	p.waitFor("a", "r", 2)
	p.checkAll("a", "r", 1, 2)
	p.checkNoErrors("a")
	if told := consoleWith(p.browser, "a", "state connected"); len(told) != 2 {
		t.Errorf("it was connected %d times", len(told))
	}
}
