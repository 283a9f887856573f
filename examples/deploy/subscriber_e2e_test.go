//go:build e2e

package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// subscriber is a socket.io-client in Node, which sends cookies as a browser does.
type subscriber struct {
	*process
	parsed int
	events []event
}

// event is a line of subscriber.mjs: a name and its arguments.
type event []json.RawMessage

func (e event) is(name string) bool {
	var text string
	return len(e) > 0 && json.Unmarshal(e[0], &text) == nil && text == name
}

func subscribe(t *testing.T, p *proxy, room string, transports ...string) *subscriber {
	t.Helper()
	settings, err := json.Marshal(map[string]any{
		"package": "socket.io-client", "rooms": []string{room},
		"options": map[string]any{"transports": transports, "withCredentials": true, "reconnectionDelay": 100, "reconnectionDelayMax": 500},
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "subscriber.mjs", p.url(), string(settings))
	cmd.Dir = jsFolder
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+p.certificate)
	return &subscriber{process: start(t, cmd, 0)}
}

// all returns the events of a name, so far.
func (s *subscriber) all(name string) (found []event) {
	lines := s.lines(&s.stdout)
	for _, line := range lines[s.parsed:] {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			s.t.Fatalf("%q: %v", line, err)
		}
		s.events = append(s.events, e)
	}
	s.parsed = len(lines)
	for _, e := range s.events {
		if e.is(name) {
			found = append(found, e)
		}
	}
	return found
}

// wait waits until there are n events of a name.
func (s *subscriber) wait(name string, n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s %d times", name, n), func() bool { return len(s.all(name)) >= n })
}

// message is what nodes publish here.
type message struct {
	From   string
	Number int
}

func (s *subscriber) messages(from string) (found []message) {
	for _, e := range s.all("message") {
		var m message
		if err := json.Unmarshal(e[1], &m); err != nil {
			s.t.Fatal(err)
		}
		if m.From == from {
			found = append(found, m)
		}
	}
	return found
}
