//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"testing"

	"github.com/twine-realtime/twine/twine/publish"
)

// redisForCluster starts a Redis of its own, and returns its URL.
func redisForCluster(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().(*net.TCPAddr)
	listener.Close() // redis-server can't take port 0
	process := exec.Command("redis-server", "--port", fmt.Sprint(address.Port), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	stdout, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	log := collect(stdout)
	t.Cleanup(func() {
		process.Process.Kill()
		<-log.ended
		process.Wait()
	})
	eventually(t, "redis-server listens", func() bool {
		conn, err := net.Dial("tcp", address.String())
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return "redis://" + address.String()
}

// TestClusterAPI: the API of one node of a cluster knows the sockets of the other, and publishes to them.
func TestClusterAPI(t *testing.T) {
	redis := redisForCluster(t)
	a := startDaemon(t, "--redis-url", redis, "--api-key", "secret")
	b := startDaemon(t, "--redis-url", redis, "--api-key", "secret")
	a.key, b.key = "secret", "secret"
	n := startNode(t, "subscriber.mjs", a.url(), `{"package": "socket.io-client", "rooms": ["lobby"], "options": {"transports": ["websocket"]}}`)
	n.waitEvent("roomJoined", 1)
	id := n.waitEvent("connect", 1).text(1)

	client := newPublishClient(t, b.url(), b.key)
	result, err := client.Publish(t.Context(), publish.Message{Room: "lobby", Data: map[string]int{"n": 1}, Stamp: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := n.waitEvent("message", 1); got.text(2) != result.Offset {
		t.Errorf("got %s, published was %+v", got, result)
	}
	for _, d := range []*daemon{a, b} {
		if page := history(t, d, "lobby", ""); len(page.Entries) != 1 || page.Entries[0].Offset != result.Offset {
			t.Errorf("history %+v", page)
		}
		var room struct{ Sockets int }
		v1(t, d, "GET", "rooms/lobby", "", 200, &room)
		var in struct{ Sockets []string }
		v1(t, d, "GET", "rooms/lobby/sockets", "", 200, &in)
		if room.Sockets != 1 || fmt.Sprint(in.Sockets) != "["+id+"]" {
			t.Errorf("in the room are %d: %q", room.Sockets, in.Sockets)
		}
		var rooms struct {
			Rooms []struct {
				Room    string
				Sockets int
			}
			More, Partial bool
		}
		v1(t, d, "GET", "rooms", "", 200, &rooms)
		if fmt.Sprint(rooms) != "{[{lobby 1}] false false}" {
			t.Errorf("rooms %v", rooms)
		}
		var socket struct {
			ID, Address string
			Rooms       []string
		}
		v1(t, d, "GET", "sockets/"+id, "", 200, &socket)
		if socket.ID != id || fmt.Sprint(socket.Rooms) != "[lobby]" || socket.Address == "" {
			t.Errorf("the socket is %+v", socket)
		}
	}
	// A message that was accepted by one node is a duplicate at the other.
	again := publish.Message{Room: "lobby", Data: map[string]int{"n": 1}, Stamp: true, ID: result.ID}
	if second, err := newPublishClient(t, a.url(), a.key).Publish(t.Context(), again); err != nil || !second.Duplicate || second.Offset != result.Offset {
		t.Errorf("%+v, %v", second, err)
	}
	v1(t, b, "DELETE", "sockets/"+id, "", 204, nil)
	if reason := n.waitEvent("disconnect", 1).text(1); reason != "io server disconnect" {
		t.Errorf("the client is disconnected with %q", reason)
	}
	v1(t, b, "GET", "sockets/"+id, "", 404, nil)
}
