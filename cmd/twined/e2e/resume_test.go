//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// resumingPage uses the original client library and listens to the rooms that its address names. It never subscribes: that
// is for the test to do, once. Next to what the library hands it, it notes what really comes in.
const resumingPage = `<!doctype html>
<script type="importmap">{"imports": {"socket.io-client": "/modules/socket.io-client/dist/socket.io.esm.min.js"}}</script>
<script type="module">
import Twine from "/modules/twine-client-library/dist/index.js";
console.log("page starts");
sessionStorage.diary = (sessionStorage.diary ?? "") + "|";
const twine = window.twine = new Twine(%q);
for (const room of JSON.parse(decodeURIComponent(location.hash.slice(1)))) {
  twine.listenOn(room, ({ n }) => {
    sessionStorage.diary += " " + n; // unlike the console, it has the last moment before a reload, too
    console.log("got " + JSON.stringify({ room, n }));
  });
}
const started = setInterval(() => {
  if (!twine.socket) return;
  clearInterval(started);
  twine.socket.on("connect", () => console.log("connected, recovered: " + twine.socket.recovered));
  twine.socket.on("disconnect", () => console.log("disconnected"));
  twine.socket.on("message", ({ room }) => console.log("came for " + room));
}, 1);
</script>`

// tabs are pages of one browser that use the original library.
type tabs struct {
	*browser
	d   *daemon
	url string
}

func startTabs(t *testing.T, d *daemon) *tabs {
	page := servePage(t, fmt.Sprintf(resumingPage, d.url()))
	return &tabs{startBrowser(t), d, page.URL}
}

// open opens a tab that listens to rooms, and waits for its connection.
func (b *tabs) open(tab string, listens ...string) {
	b.t.Helper()
	rooms, _ := json.Marshal(listens)
	b.openTab(tab, "the only profile", b.url+"#"+string(rooms))
	waitConsole(b.t, b.browser, tab, "connected, ", 1)
	// The library attaches its listeners later than that. What comes to a page that did not resume anything would be lost.
	eventually(b.t, "the library listens", func() (all bool) {
		b.do(map[string]any{"do": "evaluate", "page": tab, "script": fmt.Sprintf(`twine.socket.listeners("message").length > %d`, len(listens))}, &all)
		return all
	})
}

func (b *tabs) subscribe(tab, room string) {
	b.t.Helper()
	b.evaluate(tab, fmt.Sprintf("twine.subscribe(%q)", room))
	waitConsole(b.t, b.browser, tab, "You have joined room: "+room, 1)
}

func (b *tabs) publish(room string, numbers ...int) {
	b.t.Helper()
	for _, n := range numbers {
		if err := b.d.publish(room, map[string]int{"n": n}); err != nil {
			b.t.Fatal(err)
		}
	}
}

// got returns the numbers of what the library has handed to a tab, for each time that the page was loaded.
func (b *tabs) got(tab, room string) (loads [][]int) {
	for _, line := range b.console(tab) {
		var m message
		switch text, isMessage := strings.CutPrefix(line, "got "); {
		case line == "page starts":
			loads = append(loads, nil)
		case isMessage && json.Unmarshal([]byte(text), &m) == nil && m.Room == room:
			loads[len(loads)-1] = append(loads[len(loads)-1], m.N)
		}
	}
	return loads
}

// now returns those of the last time.
func (b *tabs) now(tab, room string) []int {
	loads := b.got(tab, room)
	return loads[len(loads)-1]
}

func (b *tabs) waitFor(tab, room string, n int) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("tab %s has message %d of room %s", tab, n, room), func() bool { return slices.Contains(b.now(tab, room), n) })
}

func (b *tabs) rooms(tab string) []string {
	b.t.Helper()
	var id string
	b.do(map[string]any{"do": "evaluate", "page": tab, "script": "twine.socket.id"}, &id)
	return roomsOf(b.t, b.d, id)
}

// TestReloadMissesNothing reloads a page while messages flow. It subscribed before the first time only.
func TestReloadMissesNothing(t *testing.T) {
	d := startDaemon(t, longReplay...)
	b := startTabs(t, d)
	b.open("a", "r")
	b.subscribe("a", "r")
	stream := startStubbornStream(t, d, "r")
	const reloads = 3
	for i := range reloads {
		b.waitFor("a", "r", stream.last()+10)
		b.reload("a")
		waitConsole(t, b.browser, "a", "page starts", i+2)
	}
	b.waitFor("a", "r", stream.last()+10)
	stream.stop()
	b.waitFor("a", "r", stream.last())

	var diary string
	b.do(map[string]any{"do": "evaluate", "page": "a", "script": "sessionStorage.diary"}, &diary)
	loads := strings.Split(diary, "|")[1:]
	if len(loads) != 1+reloads {
		t.Fatalf("the page was loaded %d times", len(loads))
	}
	next := 1 // what has to come next
	for i, load := range loads {
		for j, field := range strings.Fields(load) {
			n, err := strconv.Atoi(field)
			// The page had told that it had received all but the newest when it was reloaded.
			if again := 20; err != nil || n > next || n < next && (j > 0 || n < next-again) {
				t.Fatalf("load %d: message %s comes, want %d:\n%s", i, field, next, diary)
			}
			next = n + 1
		}
	}
	if next != stream.last()+1 {
		t.Errorf("%d of %d messages came", next-1, stream.last())
	}
	if errors := consoleWith(b.browser, "a", "uncaught"); len(errors) > 0 {
		t.Errorf("errors in the page: %q", errors)
	}
}

// TestTabs has several tabs with one cookie live through everything.
func TestTabs(t *testing.T) {
	d := launch(t, t.TempDir())
	b := startTabs(t, d)
	b.open("a", "A", "B")
	b.subscribe("a", "A")
	b.open("b", "A", "B")
	b.subscribe("b", "B")
	b.open("idle", "A", "B")
	apart := func(when string) {
		t.Helper()
		for tab, want := range map[string]string{"a": "[A]", "b": "[B]", "idle": "[]"} {
			if rooms := b.rooms(tab); fmt.Sprint(rooms) != want {
				t.Errorf("%s tab %s is in %q, want %s", when, tab, rooms, want)
			}
			for _, room := range []string{"A", "B"} {
				if came := consoleWith(b.browser, tab, "came for "+room); len(came) > 0 && !strings.Contains(want, room) {
					t.Errorf("%s tab %s has been sent %d messages of room %s", when, tab, len(came), room)
				}
			}
		}
	}
	b.publish("A", 1)
	b.publish("B", 1)
	b.waitFor("a", "A", 1)
	b.waitFor("b", "B", 1)
	apart("at first")

	b.reload("a")
	b.publish("A", 2)
	b.publish("B", 2)
	b.waitFor("a", "A", 2)
	b.waitFor("b", "B", 2)
	apart("after a reload of a")
	if lost := consoleWith(b.browser, "b", "disconnected"); len(lost) > 0 {
		t.Error("the other tab was disconnected by the reload")
	}

	for i, end := range []func(){func() { d.kill() }, func() { d.stop() }} {
		end()
		d = d.again()
		b.d = d
		b.publish("A", 3+i)
		b.publish("B", 3+i)
		for _, tab := range []string{"a", "b", "idle"} {
			waitConsole(t, b.browser, tab, "connected, recovered: true", i+1)
		}
		b.waitFor("a", "A", 3+i)
		b.waitFor("b", "B", 3+i)
		apart(fmt.Sprintf("after restart %d", i))
	}
	if a, bb := b.now("a", "A"), b.now("b", "B"); !slices.Equal(bb, []int{1, 2, 3, 4}) || !slices.Equal(a[len(a)-3:], []int{2, 3, 4}) {
		t.Errorf("tab a has %v, tab b %v", a, bb)
	}

	// All close. Nothing tells whose successor a new tab is, so it is in the rooms of both.
	for _, tab := range []string{"a", "b", "idle"} {
		b.close(tab)
	}
	eventually(t, "nobody is connected", func() bool {
		return metric(t, d, "twine_clients") == "0"
	})
	b.publish("A", 5)
	b.publish("B", 5)
	b.open("new", "A", "B")
	b.waitFor("new", "A", 5)
	b.waitFor("new", "B", 5)
	if rooms := b.rooms("new"); !slices.Equal(rooms, []string{"A", "B"}) {
		t.Errorf("a new tab is in %q", rooms)
	}
	d.stop()
}
