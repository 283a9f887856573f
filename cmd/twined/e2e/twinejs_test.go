//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const twinejsFolder = "testdata/twinejs"

// twinePages are tabs of one browser with pages that use twine.js. Each tab notes what its rooms get.
type twinePages struct {
	*browser
	url string
}

// startTwinePages serves the page from an origin of its own. host is where twine.js connects to.
func startTwinePages(t *testing.T, library, host string) *twinePages {
	t.Helper()
	page := readTwineFile(t, "page.html")
	page = strings.NewReplacer("LIBRARY", library, "HOST", host).Replace(page)
	return &twinePages{startTwineBrowser(t), servePage(t, page).URL}
}

func readTwineFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(twinejsFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func startTwineBrowser(t *testing.T) *browser {
	t.Helper()
	script, err := filepath.Abs(filepath.Join(twinejsFolder, "browser.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	return &browser{node: startNode(t, script)}
}

// servePageWith serves a page with headers from an origin of its own.
func servePageWith(t *testing.T, page string, header http.Header) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		for name, values := range header {
			w.Header()[name] = values
		}
		fmt.Fprint(w, page)
	}))
	t.Cleanup(server.Close)
	return server
}

// start opens a tab whose page subscribes to rooms and listens to them, and waits until it is subscribed.
func (p *twinePages) start(tab string, rooms ...string) {
	p.t.Helper()
	list, _ := json.Marshal(rooms)
	p.openTab(tab, "the only profile", p.url+"#"+string(list))
	for _, room := range rooms {
		waitConsole(p.t, p.browser, tab, "subscribed "+room, 1)
	}
}

// ready waits until a tab's page has run its script, for which neither a reload nor a message that came before waits.
func (p *twinePages) ready(tab string) {
	p.t.Helper()
	eventually(p.t, "the page is ready", func() (yes bool) {
		p.ask(tab, `typeof window.subscribe === "function"`, &yes)
		return yes
	})
}

// publish sends numbered messages to a room.
func (p *twinePages) publish(d *daemon, room string, numbers ...int) {
	p.t.Helper()
	for _, n := range numbers {
		if err := d.publish(room, map[string]int{"n": n}); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *twinePages) offline(tab string, offline bool) {
	p.t.Helper()
	p.do(map[string]any{"do": "offline", "page": tab, "value": offline}, nil)
}

// ask returns the value of an expression, as JSON decodes it into v.
func (p *twinePages) ask(tab, script string, v any) {
	p.t.Helper()
	p.do(map[string]any{"do": "evaluate", "page": tab, "script": script}, v)
}

// got returns the numbers of the messages that a tab's pages got for a room, across reloads.
func (p *twinePages) got(tab, room string) (numbers []int) {
	p.t.Helper()
	var diary string
	p.ask(tab, fmt.Sprintf("sessionStorage[%q] ?? ''", "got "+room), &diary)
	for _, field := range strings.Fields(diary) {
		n, err := strconv.Atoi(field)
		if err != nil {
			p.t.Fatalf("message %q", field)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// waitFor waits until a tab got message n of a room.
func (p *twinePages) waitFor(tab, room string, n int) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("tab %s has message %d of room %s", tab, n, room), func() bool {
		got := p.got(tab, room)
		return len(got) > 0 && got[len(got)-1] >= n
	})
}

// checkAll checks that a tab got the messages from first to last of a room, in order and each once.
func (p *twinePages) checkAll(tab, room string, first, last int) {
	p.t.Helper()
	got := p.got(tab, room)
	for i, n := range got {
		if n != first+i {
			p.t.Fatalf("tab %s, room %s: message %d comes where %d is due: %v", tab, room, n, first+i, got[max(0, i-10):min(len(got), i+10)])
		}
	}
	if len(got) != last-first+1 {
		p.t.Fatalf("tab %s, room %s: %d messages came, want %d", tab, room, len(got), last-first+1)
	}
}

// checkNoErrors checks that nothing went wrong in a tab that its page would have told.
func (p *twinePages) checkNoErrors(tab string) {
	p.t.Helper()
	for _, sign := range []string{"uncaught", "error ", "gap "} {
		if told := consoleWith(p.browser, tab, sign); len(told) > 0 {
			p.t.Errorf("the console of tab %s has %q", tab, told)
		}
	}
}
