//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// away takes a tab off the network until the function that it returns is called.
func (p *twinePages) away(tab string) (back func()) {
	p.t.Helper()
	gone := len(consoleWith(p.browser, tab, "state disconnected, "))
	p.offline(tab, true)
	waitConsole(p.t, p.browser, tab, "state disconnected, ", gone+1)
	return func() {
		p.t.Helper()
		p.offline(tab, false)
	}
}

// send publishes with the new API.
func (p *twinePages) send(d *daemon, body string) {
	p.t.Helper()
	response, text := d.do(p.t, "POST", "/v1/publish", http.Header{"Authorization": {d.key}}, strings.NewReader(body))
	if response.StatusCode != http.StatusCreated {
		p.t.Fatalf("publish: %s %s", response.Status, text)
	}
}

// numbered is a batch of messages for a room.
func numbered(room string, from, to int) string {
	var list []string
	for n := from; n <= to; n++ {
		list = append(list, fmt.Sprintf(`{"room":%q,"data":{"room":%q,"n":%d}}`, room, room, n))
	}
	return `{"messages":[` + strings.Join(list, ",") + `]}`
}

// gaps returns the rooms whose gaps a tab was told.
func (p *twinePages) gaps(tab string) (rooms []string) {
	for _, line := range consoleWith(p.browser, tab, "gap ") {
		var gap struct{ Room, From, To string }
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "gap ")), &gap); err != nil || gap.From == "" || gap.To == "" {
			p.t.Errorf("%s: %v", line, err)
		}
		rooms = append(rooms, gap.Room)
	}
	return rooms
}

// TestTwinejsGap has rooms of which more was missed than is sent again. Only they have a gap.
func TestTwinejsGap(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "--max-replay", "10")
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	p.start("a", "many", "few", "none", "ten")
	p.publish(d, "many", 1)
	p.waitFor("a", "many", 1)
	back := p.away("a")
	p.send(d, numbered("many", 2, 12))
	p.send(d, numbered("few", 1, 3))
	p.send(d, numbered("ten", 1, 10))
	back()
	p.waitFor("a", "few", 3)
	p.waitFor("a", "ten", 10)
	waitConsole(t, p.browser, "a", "gap ", 1)
	p.publish(d, "many", 13)
	p.publish(d, "none", 1)
	p.waitFor("a", "many", 13)
	p.waitFor("a", "none", 1)
	p.checkAll("a", "few", 1, 3)
	p.checkAll("a", "ten", 1, 10)
	p.checkAll("a", "none", 1, 1)
	if got := fmt.Sprint(p.got("a", "many")); got != "[1 13]" {
		t.Errorf("the room with a gap has %s", got)
	}
	if got := fmt.Sprint(p.gaps("a")); got != "[many]" {
		t.Errorf("gaps of the rooms %s were told", got)
	}
	// Once told, it is done with.
	p.reload("a")
	p.publish(d, "many", 14)
	p.waitFor("a", "many", 14)
	if got := p.gaps("a"); len(got) != 1 {
		t.Errorf("after a reload the gaps are %q", got)
	}
}

// TestTwinejsLostLog has a client whose positions belong to a log that is no more.
func TestTwinejsLostLog(t *testing.T) {
	t.Parallel()
	d := launch(t, t.TempDir())
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	p.start("a", "r")
	p.publish(d, "r", 1)
	p.waitFor("a", "r", 1)
	d.stop()
	d = launch(t, t.TempDir(), "--listen", d.host)
	waitConsole(t, p.browser, "a", "gap ", 1)
	p.publish(d, "r", 2)
	p.waitFor("a", "r", 2)
	p.checkAll("a", "r", 1, 2)
	if got := fmt.Sprint(p.gaps("a")); got != "[r]" {
		t.Errorf("gaps of the rooms %s were told", got)
	}
	d.stop()
}

// TestTwinejsLongReplay has a client miss more than one answer holds, and be cut in the middle, while more comes.
func TestTwinejsLongReplay(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "--max-replay", "100000")
	network := startProxy(t, d.host)
	p := startTwinePages(t, d.url()+"/twine.js", network.url())
	p.start("a", "r", "s")
	network.cut()
	waitConsole(t, p.browser, "a", "state disconnected, ", 1)
	const batches = 25
	for i := range batches {
		p.send(d, numbered("r", i*100+1, i*100+100))
		p.send(d, numbered("s", i*4+1, i*4+4))
	}
	network.up()
	p.waitFor("a", "r", 1)
	network.cut()
	network.up()
	p.send(d, numbered("r", batches*100+1, batches*100+50))
	p.waitFor("a", "r", batches*100+50)
	p.waitFor("a", "s", batches*4)
	p.checkAll("a", "r", 1, batches*100+50)
	p.checkAll("a", "s", 1, batches*4)
	p.checkNoErrors("a")
}

// TestTwinejsUnsubscribe leaves and joins rooms, with the network and without.
func TestTwinejsUnsubscribe(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	p.start("a", "left", "back", "stays")
	p.publish(d, "left", 1)
	p.publish(d, "back", 1)
	p.publish(d, "stays", 1)
	p.waitFor("a", "stays", 1)
	back := p.away("a")
	p.evaluate("a", `twine.unsubscribe("left"); twine.unsubscribe("back")`)
	p.publish(d, "left", 2)
	p.publish(d, "back", 2)
	p.publish(d, "stays", 2)
	p.evaluate("a", `void subscribe("back"); listen("new"); void subscribe("new")`)
	p.publish(d, "new", 1)
	back()
	waitConsole(t, p.browser, "a", "subscribed back", 2)
	waitConsole(t, p.browser, "a", "subscribed new", 1)
	p.publish(d, "left", 3)
	p.publish(d, "back", 3)
	p.publish(d, "new", 2)
	p.publish(d, "stays", 3)
	p.waitFor("a", "stays", 3)
	p.reload("a") // its address names "left" and "back", and not "new"
	waitConsole(t, p.browser, "a", "subscribed left", 2)
	p.evaluate("a", `listen("new")`)
	p.publish(d, "left", 4)
	p.publish(d, "back", 4)
	p.publish(d, "new", 3)
	p.publish(d, "stays", 4)
	p.waitFor("a", "stays", 4)
	p.waitFor("a", "new", 3)
	p.checkAll("a", "stays", 1, 4)
	for room, want := range map[string]string{"left": "[1 4]", "back": "[1 3 4]", "new": "[2 3]"} {
		if got := fmt.Sprint(p.got("a", room)); got != want {
			t.Errorf("room %s has %s, want %s", room, got, want)
		}
	}
	p.checkNoErrors("a")

	var id string
	p.ask("a", `twine.unsubscribe(["left", "new"]).then(() => twine.id)`, &id)
	if got := fmt.Sprint(roomsOf(t, d, id)); got != "[back stays]" {
		t.Errorf("the server has the client in %s", got)
	}
}

// TestTwinejsPosition goes on from positions that the application has kept.
func TestTwinejsPosition(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	p.start("a", "r")
	p.publish(d, "r", 1, 2)
	p.waitFor("a", "r", 2)
	var position string
	p.ask("a", `twine.position("r")`, &position)
	p.publish(d, "r", 3, 4)
	p.start("b") // another tab knows nothing of it
	p.evaluate("b", fmt.Sprintf(`listen("r"); subscribe("r", { after: %q })`, position))
	p.publish(d, "r", 5)
	p.waitFor("b", "r", 5)
	p.checkAll("b", "r", 3, 5)
	p.waitFor("a", "r", 5)
	p.evaluate("a", fmt.Sprintf(`subscribe("r", { after: %q })`, position)) // while it is subscribed
	p.waitFor("a", "r", 5)
	eventually(t, "it comes again", func() bool { return fmt.Sprint(p.got("a", "r")) == "[1 2 3 4 5 3 4 5]" })
	for _, wrong := range []string{"5", "x-y", "1-2-3"} {
		var problem string
		p.ask("b", fmt.Sprintf(`twine.subscribe("r", { after: %q }).catch((e) => e.message)`, wrong), &problem)
		if !strings.Contains(problem, "not a position") {
			t.Errorf("after %s: %q", wrong, problem)
		}
	}
	var problem string
	p.ask("b", `twine.subscribe("r".repeat(5000)).catch((e) => e.message)`, &problem)
	if !strings.Contains(problem, "room") || p.gaps("b") != nil {
		t.Errorf("a room that the server refuses: %q", problem)
	}
	// The server is asked for the others as well.
	p.ask("b", `Promise.allSettled([twine.subscribe(""), twine.subscribe("x".repeat(5000)), twine.subscribe(["good", "too"])]).then((all) => all.map((r) => r.status).join())`, &problem)
	if problem != "rejected,rejected,fulfilled" {
		t.Errorf("three at once are %s", problem)
	}

	// The position in a quiet room moves as well, so that it never becomes older than the log.
	p.evaluate("a", `const real = setInterval; window.setInterval = (f, ms) => real(f, ms / 6000); twine.disconnect(); twine.connect(); twine.subscribe("quiet")`)
	var before, after string
	eventually(t, "there is a position", func() bool { p.ask("a", `twine.position("quiet") ?? ""`, &before); return before != "" })
	p.publish(d, "elsewhere", 1)
	eventually(t, "it moves", func() bool { p.ask("a", `twine.position("quiet") ?? ""`, &after); return after > before })
}

// TestTwinejsEvents publishes other events than messages, to several rooms at once and not to everyone in them.
func TestTwinejsEvents(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	p.start("a", "r", "s")
	p.evaluate("a", `twine.on("news", (...args) => console.log("news " + JSON.stringify(args)))`)
	var id, position string
	p.ask("a", "twine.id", &id)
	p.ask("a", `twine.position("s")`, &position)
	send := func(n int, more string) {
		t.Helper()
		p.send(d, fmt.Sprintf(`{"rooms":["r","s"],"event":"news","args":[%d,{"deep":[[[["1-2"]]]]},"%d-1"]%s}`, n, n, more))
	}
	send(1, "")
	waitConsole(t, p.browser, "a", "news ", 1)
	back := p.away("a")
	send(2, "")
	send(0, fmt.Sprintf(`,"except":[%q]`, id))
	send(3, "")
	back()
	waitConsole(t, p.browser, "a", "news ", 3)
	send(4, "")
	waitConsole(t, p.browser, "a", "news ", 4)
	// What came for one room does not come again for the other, whose position is put back.
	p.evaluate("a", fmt.Sprintf(`subscribe("s", { after: %q })`, position))
	waitConsole(t, p.browser, "a", "subscribed s", 2)
	var want []string
	for n := range 4 {
		want = append(want, fmt.Sprintf(`news [%d,{"deep":[[[["1-2"]]]]},"%d-1"]`, n+1, n+1))
	}
	if got := consoleWith(p.browser, "a", "news "); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	p.checkNoErrors("a")
}

// TestTwinejsLateListener has messages come before anyone listens, some of them before a reload.
func TestTwinejsLateListener(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "--max-replay", "2000")
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	p.start("a")
	p.evaluate("a", `subscribe("r"); subscribe("full")`)
	waitConsole(t, p.browser, "a", "subscribed full", 1)
	p.publish(d, "r", 1, 2)
	p.reload("a")
	p.publish(d, "r", 3)
	for i := range 11 {
		p.send(d, numbered("full", i*100+1, i*100+100))
	}
	p.ready("a")
	p.evaluate("a", `subscribe("last")`)
	waitConsole(t, p.browser, "a", "subscribed last", 1)
	p.evaluate("a", `listen("last")`)
	p.publish(d, "last", 1)
	p.waitFor("a", "last", 1) // and so all others are there
	p.evaluate("a", `listen("r"); listen("full")`)
	p.waitFor("a", "r", 3)
	p.waitFor("a", "full", 1100)
	p.checkAll("a", "r", 1, 3)
	p.checkAll("a", "full", 101, 1100)
	if got := fmt.Sprint(p.gaps("a")); got != "[full]" {
		t.Errorf("gaps of the rooms %s were told", got)
	}
}
