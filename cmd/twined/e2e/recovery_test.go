//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// subscribeOnce starts a stock client that subscribes to its rooms when it connects first, and never again.
func subscribeOnce(t *testing.T, url string, options map[string]any, rooms ...string) *node {
	t.Helper()
	settings := map[string]any{"reconnectionDelay": 100, "reconnectionDelayMax": 300}
	for name, value := range options {
		settings[name] = value
	}
	text, err := json.Marshal(map[string]any{"package": "socket.io-client", "options": settings, "rooms": rooms, "once": true})
	if err != nil {
		t.Fatal(err)
	}
	n := startNode(t, "subscriber.mjs", url, string(text))
	n.waitEvent("roomJoined", len(rooms))
	return n
}

// TestStockClientsMissNothing cuts clients off in all the ways there are, with messages flowing, and ends and kills the
// daemon meanwhile. Each client says that it was recovered each time, and has every message once, in order.
func TestStockClientsMissNothing(t *testing.T) {
	d := launch(t, t.TempDir(), longReplay...)
	network := startProxy(t, d.host)
	clients := map[string]*node{}
	for name, options := range variants {
		clients[name] = subscribeOnce(t, network.url(), options, "r")
		if name == "upgrade" {
			clients[name].waitEvent("upgrade", 1)
		}
	}
	stream := startStubbornStream(t, d, "r")

	connects := 1
	cameBack := func(fault string) {
		t.Helper()
		connects++
		// A client over polling that has no request under way would not notice a cut that is over at once.
		for name, n := range clients {
			eventually(t, name+" notices "+fault, func() bool { return len(n.events("disconnect")) == connects-1 })
		}
		network.up()
		goal := stream.last()
		for name, n := range clients {
			came := n.waitEvent("connect", connects)
			if first := n.events("connect")[0].text(1); string(came[2]) != "true" || came.text(1) != first {
				t.Errorf("%s: after %s it connects as %s, at first as %s", name, fault, came, first)
			}
			eventually(t, fmt.Sprintf("%s is where the stream was after %s", name, fault), func() bool { return len(n.events("message")) >= goal })
		}
	}
	eventually(t, "messages flow", func() bool { return stream.last() > 20 })
	for _, fault := range []struct {
		name string
		do   func()
	}{
		{"a cut", network.cut},
		{"a loss that only the client notices", network.abandon},
		{"SIGTERM", func() { d.stop(); d = d.again() }},
		{"SIGKILL", func() { d.kill(); d = d.again() }},
		{"another SIGKILL", func() { d.kill(); d = d.again() }},
		{"a cut from the new daemon", network.cut},
	} {
		fault.do()
		cameBack(fault.name)
	}
	stream.stop()
	for name, n := range clients {
		eventually(t, name+" has the last message", func() bool { return len(n.events("message")) >= stream.last() })
		numbers := messageNumbers(t, n)
		for i, number := range numbers {
			if number != i+1 {
				t.Fatalf("%s: message %d is number %d of %d", name, i+1, number, stream.last())
			}
		}
		if len(numbers) != stream.last() || len(n.events("connect")) != connects {
			t.Errorf("%s: %d of %d messages, %d connects, want %d", name, len(numbers), stream.last(), len(n.events("connect")), connects)
		}
	}
	d.stop()
}

// TestRestartWithinTheFirstMoment: a client that has not received any event yet comes back to its rooms, too.
func TestRestartWithinTheFirstMoment(t *testing.T) {
	d := launch(t, t.TempDir())
	n := subscribeOnce(t, d.url(), nil, "r")
	d.kill()
	d = d.again()
	if err := d.publish("r", map[string]int{"n": 1}); err != nil {
		t.Fatal(err)
	}
	n.waitEvent("message", 1)
	if came := n.events("connect")[1]; string(came[2]) != "true" {
		t.Errorf("it connects as %s", came)
	}
	d.stop()
}

// gap is what a client is told when it can't have what it missed.
type gap struct{ Room, From, To string }

// TestMissedTooMuch: a client that missed more than is replayed gets nothing of it, and is told so.
func TestMissedTooMuch(t *testing.T) {
	d := startDaemon(t, "--max-replay", "10")
	network := startProxy(t, d.host)
	n := subscribeOnce(t, network.url(), map[string]any{"transports": []string{"websocket"}}, "r")
	publish := func(from, to int) {
		t.Helper()
		for i := from; i <= to; i++ {
			if err := d.publish("r", map[string]int{"n": i}); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(1, 1)
	n.waitEvent("message", 1)

	network.cut()
	n.waitEvent("disconnect", 1)
	publish(2, 11)
	network.up()
	if came := n.waitEvent("connect", 2); string(came[2]) != "true" {
		t.Errorf("ten missed: it connects as %s", came)
	}
	n.waitEvent("message", 11)

	network.cut()
	n.waitEvent("disconnect", 2)
	publish(12, 22)
	network.up()
	if came := n.waitEvent("connect", 3); string(came[2]) != "false" {
		t.Errorf("eleven missed: it connects as %s", came)
	}
	var told gap
	if err := json.Unmarshal(n.waitEvent("twine:gap", 1)[1], &told); err != nil || told.Room != "r" {
		t.Fatalf("told %+v, %v", told, err)
	}
	// It subscribes again, as its application does when it is not recovered, and asks for what it missed.
	n.send([]any{"subscribe", "r"})
	n.waitEvent("roomJoined", 2)
	publish(23, 23)
	n.waitEvent("message", 12)
	numbers := messageNumbers(t, n)
	if len(numbers) != 12 || numbers[10] != 11 || numbers[11] != 23 {
		t.Errorf("received %v", numbers)
	}
	page := history(t, d, "r", "?after="+told.From)
	if len(page.Entries) != 12 || page.Entries[0].n(t) != 12 || page.Entries[10].Offset > told.To || page.Entries[11].n(t) != 23 {
		t.Errorf("the history from %s to %s is %+v", told.From, told.To, page)
	}
}

// historyPage is an answer of GET /v1/rooms/{room}/history.
type historyPage struct {
	Entries []historyEntry
	Next    string
	More    bool
}

type historyEntry struct {
	Offset string
	Args   []json.RawMessage
}

func (e historyEntry) n(t *testing.T) int {
	t.Helper()
	var m struct{ N int }
	if err := json.Unmarshal(e.Args[0], &m); err != nil {
		t.Fatal(err)
	}
	return m.N
}

func history(t *testing.T, d *daemon, room, query string) (page historyPage) {
	t.Helper()
	response, text := d.do(t, "GET", "/v1/rooms/"+room+"/history"+query, http.Header{"Authorization": {"Bearer " + d.key}}, nil)
	if err := json.Unmarshal([]byte(text), &page); err != nil || response.StatusCode != 200 {
		t.Fatalf("history: %s %.300s", response.Status, text)
	}
	return page
}
