//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const snippetsFolder = "../../../examples/publish"

// snippets are the examples of how to publish, as they stand in the documentation.
var snippets = []struct {
	name     string
	command  []string
	required bool // the others are run where their interpreter is there
}{
	{"curl", []string{"sh", "publish.sh"}, true},
	{"JavaScript", []string{"node", "publish.mjs"}, true},
	{"Go", []string{"go", "run", "./go"}, true},
	{"Python", []string{"python3", "publish.py"}, false},
	{"PHP", []string{"php", "publish.php"}, false},
}

func runSnippet(t *testing.T, command []string, url, key string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	process := exec.CommandContext(t.Context(), command[0], append(command[1:], args...)...)
	process.Dir = snippetsFolder
	process.Env = append(os.Environ(), "TWINE_URL="+url, "TWINE_API_KEY="+key)
	var out, failure bytes.Buffer
	process.Stdout, process.Stderr = &out, &failure
	err = process.Run()
	return out.String(), failure.String(), err
}

// TestPublishSnippets runs each one twice: against the daemon, and through something that answers 503 although the daemon has taken
// the message. A subscriber gets each message once.
func TestPublishSnippets(t *testing.T) {
	d := startDaemon(t)
	for _, snippet := range snippets {
		if _, err := exec.LookPath(snippet.command[0]); err != nil {
			if snippet.required {
				t.Error(err)
			}
			t.Logf("NOT RUN: the %s snippet, because there is no %s here", snippet.name, snippet.command[0])
			continue
		}
		t.Run(snippet.name, func(t *testing.T) {
			room := "room for " + snippet.name
			listener := dialRaw(t, d, "")
			listener.subscribe(room)
			u := startUnsure(t, d.url(), func(n int, w http.ResponseWriter, status int, _ []byte) bool {
				if n > 1 || status != 201 {
					return false
				}
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(503)
				w.Write([]byte(`{"title":"Service Unavailable","status":503,"detail":"not now"}`))
				return true
			})
			for n, url := range []string{d.url(), u.URL} {
				stdout, stderr, err := runSnippet(t, snippet.command, url, d.key, room, fmt.Sprintf(`{"n": %d, "text": "Zażółć ☂"}`, n))
				if err != nil {
					t.Fatalf("%v: %s %s", err, stdout, stderr)
				}
				packet := listener.packets.waitFor(t, 0, "the message comes", func(packet string) bool {
					return strings.HasPrefix(packet, `42["message",`) && (strings.Contains(packet, fmt.Sprintf(`"n":%d`, n)) || strings.Contains(packet, fmt.Sprintf(`"n": %d`, n)))
				})
				offset := packet[strings.LastIndex(packet, `,"`)+2 : len(packet)-2]
				if !strings.Contains(stdout, offset) {
					t.Errorf("it printed %q, and %s came", stdout, packet)
				}
			}
			if u.requests() != 2 {
				t.Errorf("%d requests came where the first is answered with 503", u.requests())
			}
			checkNumbers(t, listener, 2)
			if got := listener.messages()[1]; got.Room != room || got.Timestamp == 0 {
				t.Errorf("got %+v", got)
			}
			if page := history(t, d, strings.ReplaceAll(room, " ", "%20"), ""); len(page.Entries) != 2 {
				t.Errorf("in the history are %+v", page)
			}

			if stdout, stderr, err := runSnippet(t, snippet.command, d.url(), "wrong", room, `{}`); err == nil || !strings.Contains(stdout+stderr, "401") {
				t.Errorf("with a wrong key: %v, %s %s", err, stdout, stderr)
			}
			if stdout, stderr, err := runSnippet(t, snippet.command, d.url(), d.key, room, `[1]`); err == nil || !strings.Contains(stdout+stderr, "400") || !strings.Contains(stdout+stderr, "stamp needs") {
				t.Errorf("a message that is refused: %v, %s %s", err, stdout, stderr)
			}
		})
	}
}
