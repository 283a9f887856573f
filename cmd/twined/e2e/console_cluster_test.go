//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

// TestConsoleOfACluster: either node shows both, their clients and rooms together, and the messages of the other.
func TestConsoleOfACluster(t *testing.T) {
	redis := redistest.Start(t)
	var nodes [2]*daemon
	for i := range nodes {
		nodes[i] = startDaemon(t, "--redis-url", "redis://"+redis.Addr, "--api-key", "secret")
		nodes[i].key = "secret"
	}
	for i, rooms := range [][]string{{"both", "first"}, {"both"}} {
		c := dialRaw(t, nodes[i], "")
		for _, room := range rooms {
			c.subscribe(room)
		}
	}
	for i, d := range nodes {
		eventually(t, "the console knows both nodes", func() bool {
			var status struct {
				Clients, Rooms int
				Problem        string
				Nodes          []struct {
					Self    bool
					Clients *int
				}
			}
			_, text := d.do(t, "GET", "/console/status", http.Header{"Authorization": {"secret"}}, nil)
			if err := json.Unmarshal([]byte(text), &status); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if len(status.Nodes) != 2 || status.Clients != 2 || status.Rooms != 2 {
				return false
			}
			selves := 0
			for _, node := range status.Nodes {
				if node.Self {
					selves++
				}
				if node.Clients == nil || *node.Clients != 1 {
					return false
				}
			}
			return selves == 1 && status.Problem == ""
		})
		_, text := d.do(t, "GET", "/console/rooms", http.Header{"Authorization": {"secret"}}, nil)
		if want := `{"all":2,"found":2,"rooms":[{"room":"both","sockets":2},{"room":"first","sockets":1}]}`; text != want {
			t.Errorf("node %d lists %s", i, text)
		}
	}

	b := startBrowser(t)
	b.open("p", nodes[0].url())
	enterKey(b, "secret")
	waitPage(t, b, "#nodes-note", "2 in the cluster")
	waitPage(t, b, "#clients", "2")
	fill(b, map[string]string{"#room": "both"})
	b.evaluate("p", `document.querySelector("#follow button").click()`)
	waitPage(t, b, "#tail-state", "following both")
	for i, d := range nodes {
		text := fmt.Sprintf("through node %d", i)
		if err := d.publish("both", map[string]string{"text": text}); err != nil {
			t.Fatal(err)
		}
		waitPage(t, b, "#messages li", text)
	}
	noComplaints(t, b, "p")
}
