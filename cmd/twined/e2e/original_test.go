//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// originalPage uses the original client library as its documentation tells. The library makes its socket only after it
// has its cookie, and subscribe before that does nothing.
const originalPage = `<!doctype html>
<script type="importmap">{"imports": {"socket.io-client": "/modules/socket.io-client/dist/socket.io.esm.min.js"}}</script>
<script type="module">
import Twine from "/modules/twine-client-library/dist/index.js";
const twine = new Twine(%q);
twine.listenOn("room A", (payload) => console.log("room A: " + JSON.stringify(payload)));
const started = setInterval(() => {
  if (!twine.socket) return;
  clearInterval(started);
  twine.subscribe("room A");
}, 10);
window.twine = twine;
</script>`

// servePage serves a page and the npm modules from an origin of its own.
func servePage(t *testing.T, page string) *httptest.Server {
	mux := http.NewServeMux()
	mux.Handle("/modules/", http.StripPrefix("/modules/", http.FileServer(http.Dir(filepath.Join(jsFolder, "node_modules")))))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, page)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func TestOriginalLibraries(t *testing.T) {
	d := startDaemon(t)
	page := servePage(t, fmt.Sprintf(originalPage, d.url()))
	b := startBrowser(t)
	b.open("a", page.URL)
	waitConsole(t, b, "a", "Connected to the Twine server", 1)
	waitConsole(t, b, "a", "You have joined room: room A", 1)

	// The library attaches its listener a while after it has its socket.
	eventually(t, "the library listens", func() bool { return b.truth("a", `twine.socket.listeners("message").length > 0`) })

	const messages = 20
	publisher := startNode(t, "publisher.mjs", d.url(), d.key, "room A", fmt.Sprint(messages))
	eventually(t, "the publisher is done", func() bool {
		return len(publisher.stdout.from(0)) == messages
	})
	for _, line := range publisher.stdout.from(0) {
		if line != "publish status: 201" {
			t.Fatalf("the publisher wrote %q", line)
		}
	}
	waitConsole(t, b, "a", "room A: ", messages)
	got := consoleWith(b, "a", "room A: ")
	for n, line := range got {
		if !strings.HasPrefix(line, fmt.Sprintf(`room A: {"n":%d,"room":"room A","timestamp":1`, n)) {
			t.Errorf("message %d is %s", n, line)
		}
	}
	if len(got) != messages {
		t.Errorf("%d messages came, want %d", len(got), messages)
	}

	b.evaluate("a", `twine.unsubscribe("room A")`)
	waitConsole(t, b, "a", "You have left room: room A", 1)
	if errors := consoleWith(b, "a", "uncaught"); len(errors) > 0 {
		t.Errorf("errors in the page: %q", errors)
	}
}

func TestOriginalCookie(t *testing.T) {
	d := startDaemon(t)
	page := servePage(t, fmt.Sprintf(originalPage, d.url()))
	b := startBrowser(t)
	first := cookieAfterOpening(t, b, d, page.URL, 1)
	again := cookieAfterOpening(t, b, d, page.URL, 2)
	if id, err := uuid.Parse(first.Value); err != nil || id.Version() != 4 {
		t.Errorf("cookie value %q is no uuid v4", first.Value)
	}
	if again.Value != first.Value || again.Expires < first.Expires {
		t.Errorf("after a reload the cookie is %+v, before it was %+v", again, first)
	}
	if !first.HTTPOnly || first.Secure || first.SameSite != "Lax" || first.Path != "/" {
		t.Errorf("cookie is %+v", first)
	}
}

type browserCookie struct {
	Name, Value, Path, SameSite string
	Expires                     float64
	HTTPOnly                    bool
	Secure                      bool
}

func cookieAfterOpening(t *testing.T, b *browser, d *daemon, url string, visit int) browserCookie {
	t.Helper()
	b.open("a", url)
	waitConsole(t, b, "a", "You have joined room: room A", visit)
	var cookies []browserCookie
	b.do(map[string]any{"do": "cookies", "page": "a", "url": d.url()}, &cookies)
	i := slices.IndexFunc(cookies, func(c browserCookie) bool { return c.Name == "twineid" })
	if i < 0 {
		t.Fatalf("no cookie twineid in %+v", cookies)
	}
	return cookies[i]
}

func consoleWith(b *browser, page, text string) (found []string) {
	for _, line := range b.console(page) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

func waitConsole(t *testing.T, b *browser, page, text string, count int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%q stands %d times in the console", text, count), func() bool {
		return len(consoleWith(b, page, text)) >= count
	})
}
