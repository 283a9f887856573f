//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
)

// variants are the ways in which a stock client connects.
var variants = map[string]map[string]any{
	"websocket": {"transports": []string{"websocket"}},
	"polling":   {"transports": []string{"polling"}},
	"upgrade":   {"transports": []string{"polling", "websocket"}},
}

// TestStockClientsWhileMessagesFlow connects each client again and again, each time into a stream of messages, so that
// the handshake, the subscription and the upgrade all have messages under way in both directions.
func TestStockClientsWhileMessagesFlow(t *testing.T) {
	d := startDaemon(t)
	for _, client := range []string{"socket.io-client", "socket.io-client-3"} {
		for name, options := range variants {
			t.Run(client+"/"+name, func(t *testing.T) {
				const rounds = 8
				room := t.Name()
				stream := startStream(t, d, room)
				for range rounds {
					subscribeWithinStream(t, d, stream, client, options, room)
				}
			})
		}
	}
}

func subscribeWithinStream(t *testing.T, d *daemon, stream *stream, client string, options map[string]any, room string) {
	t.Helper()
	const questions = 100 // from the client, each answered by the server
	settings, err := json.Marshal(map[string]any{"package": client, "options": options, "rooms": []string{room}})
	if err != nil {
		t.Fatal(err)
	}
	n := startNode(t, "subscriber.mjs", d.url(), string(settings))
	n.waitEvent("connect", 1)
	for i := range questions {
		n.send([]any{"subscribe", fmt.Sprintf("%s/%d", room, i)})
	}
	transports := options["transports"].([]string)
	if got := n.waitEvent("open", 1).text(1); got != transports[0] {
		t.Errorf("opened over %q, want %q", got, transports[0])
	}
	if len(transports) > 1 {
		if got := n.waitEvent("upgrade", 1).text(1); got != transports[1] {
			t.Errorf("upgraded to %q", got)
		}
	}
	n.waitEvent("roomJoined", 1+questions)
	goal := stream.last() + 50
	eventually(t, "the client is where the stream is", func() bool {
		numbers := messageNumbers(t, n)
		return len(numbers) > 0 && numbers[len(numbers)-1] >= goal
	})

	numbers := messageNumbers(t, n)
	for i, number := range numbers {
		if number != numbers[0]+i {
			t.Fatalf("message %d follows %d", number, numbers[max(0, i-1)])
		}
	}
	for i, e := range n.events("roomJoined")[1:] {
		if want := fmt.Sprintf("You have joined room: %s/%d", room, i); e.text(1) != want {
			t.Fatalf("answer %d is %q", i, e.text(1))
		}
	}
	if lost := n.events("disconnect"); len(lost) > 0 {
		t.Errorf("disconnected: %s", lost)
	}
}

func messageNumbers(t *testing.T, n *node) (numbers []int) {
	t.Helper()
	for _, e := range n.events("message") {
		var m struct{ N int }
		if err := json.Unmarshal(e[1], &m); err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, m.N)
	}
	return numbers
}

func TestUnsubscribe(t *testing.T) {
	d := startDaemon(t)
	n := startNode(t, "subscriber.mjs", d.url(), `{"package": "socket.io-client", "rooms": ["here", "there"]}`)
	n.waitEvent("roomJoined", 2)
	n.send([]any{"unsubscribe", "here"})
	if got := n.waitEvent("roomLeft", 1).text(1); got != "You have left room: here" {
		t.Errorf("roomLeft says %q", got)
	}
	for _, room := range []string{"here", "there"} {
		if err := d.publish(room, map[string]any{"n": 1}); err != nil {
			t.Fatal(err)
		}
	}
	n.waitEvent("message", 1)
	for _, e := range n.events("message") {
		var m struct {
			Room      string
			Timestamp int64
		}
		if err := json.Unmarshal(e[1], &m); err != nil || m.Room != "there" || m.Timestamp == 0 {
			t.Errorf("message %s, %v", e[1], err)
		}
	}
}

func TestUnknownNamespace(t *testing.T) {
	d := startDaemon(t)
	n := startNode(t, "subscriber.mjs", d.url()+"/nowhere", `{"package": "socket.io-client", "rooms": []}`)
	if got := n.waitEvent("connect_error", 1).text(1); got != "Invalid namespace" {
		t.Errorf("connect_error says %q", got)
	}
}
