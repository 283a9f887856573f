package stockclient

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/twine-realtime/twine/twine/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// application takes down what it sees.
type application struct {
	mu    sync.Mutex
	lines []string
}

func (a *application) add(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lines = append(a.lines, fmt.Sprintf(format, args...))
}

func (a *application) seen() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.lines)
}

func (a *application) Connect(recovered bool) []Emit {
	a.add("connect %t", recovered)
	return []Emit{{"hello", `wor"ld`}}
}

func (a *application) Event(args []json.RawMessage) {
	var words []string
	for _, arg := range args {
		words = append(words, string(arg))
	}
	a.add("event %s", strings.Join(words, " "))
}

func (a *application) Disconnect(error)  { a.add("disconnect") }
func (a *application) Garbled(err error) { a.add("garbled %s", err) }

const handshakePacket = `0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`

// play lets a client connect to a server that, on each connection in turn, sends a handshake, waits for CONNECT, sends
// what the script says, waits for replies as many as it says, and cuts. It returns what the client sent, by connection, and
// what its application saw.
func play(t *testing.T, script []turn) (sent [][]string, seen []string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	app := &application{}
	client := New(Options{
		Addr: listener.Addr().String, Backoff: time.Millisecond, Rand: rand.New(rand.NewPCG(1, 1)), Listener: app,
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		client.Run(ctx)
	}()
	for i, turn := range script {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := ws.Upgrade(conn); err != nil {
			t.Fatal(err)
		}
		receive := func() string {
			text, err := wsutil.ReadClientText(conn)
			if err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
			return string(text)
		}
		send := func(packet string) {
			if err := wsutil.WriteServerText(conn, []byte(packet)); err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
		}
		send(handshakePacket)
		got := []string{receive()}
		for _, packet := range turn.send {
			send(packet)
		}
		// The pong proves that all before it was handled.
		send("2")
		for range turn.replies + 1 {
			got = append(got, receive())
		}
		sent = append(sent, got)
		conn.Close()
	}
	listener.Close()
	cancel()
	<-done
	return sent, app.seen()
}

type turn struct {
	send    []string
	replies int // apart from CONNECT and the pong
}

func TestRecovery(t *testing.T) {
	const hello, pong = `42["hello","wor\"ld"]`, "3"
	sent, seen := play(t, []turn{
		{[]string{`40{"sid":"a","pid":"p"}`}, 1},
		{[]string{`40{"sid":"a","pid":"p"}`, `42["e",1,"one"]`}, 1},
		// An event without a trailing string leaves the offset as it is, and one that waits for CONNECT, too.
		{[]string{`42["e",2,"two"]`}, 0},
		{[]string{`42["e",2,"two"]`, `40{"sid":"a","pid":"p"}`, `42["e",3]`}, 1},
		// A new session; the name of an event without arguments is a trailing string.
		{[]string{`40{"sid":"b","pid":"q"}`}, 1},
		{[]string{`40{"sid":"b","pid":"q"}`, `42["done"]`}, 1},
		// A server without recovery.
		{[]string{`40{"sid":"c"}`, `427["e","four"]`}, 1},
		{[]string{`40{"sid":"d"}`}, 1},
	})
	wantSent := [][]string{
		{`40`, hello, pong},
		{`40{"pid":"p"}`, hello, pong},
		{`40{"pid":"p","offset":"one"}`, pong},
		{`40{"pid":"p","offset":"one"}`, hello, pong},
		{`40{"pid":"p","offset":"two"}`, hello, pong},
		{`40{"pid":"q","offset":"two"}`, hello, pong},
		{`40{"pid":"q","offset":"done"}`, hello, pong},
		{`40`, hello, pong},
	}
	wantSeen := []string{
		"connect false", "disconnect",
		"connect true", `event "e" 1 "one"`, "disconnect",
		`event "e" 2 "two"`, `event "e" 2 "two"`, "connect true", `event "e" 3`, "disconnect",
		"connect false", "disconnect",
		"connect true", `event "done"`, "disconnect",
		"connect false", `event "e" "four"`, "disconnect",
		"connect false",
	}
	if !slices.EqualFunc(sent, wantSent, slices.Equal) {
		t.Errorf("sent\n%q, want\n%q", sent, wantSent)
	}
	// Whether the end of the run is seen as a disconnect is not the point.
	if last := len(wantSeen); len(seen) < last || !slices.Equal(seen[:last], wantSeen) {
		t.Errorf("saw\n%q, want\n%q", seen, wantSeen)
	}
}

func TestGarbledPackets(t *testing.T) {
	for _, packet := range []string{"41", `44{"message":"no"}`, "42", "42{}", "42[]", `40{"sid":""}`, "43[]", "9", "4"} {
		t.Run(packet, func(t *testing.T) {
			app := &application{}
			c := New(Options{Listener: app})
			var err error
			if len(packet) > 1 {
				err = c.message(nil, []byte(packet[1:]))
			} else {
				err = c.packet(nil, []byte(packet), time.Second)
			}
			if _, ok := err.(*garbledError); !ok {
				t.Errorf("error %v for %s", err, packet)
			}
		})
	}
}

func TestDelayIsThatOfStockClients(t *testing.T) {
	c := New(Options{Backoff: time.Second, Rand: rand.New(rand.NewPCG(1, 1))})
	for attempt := range 20 {
		mean := min(time.Second<<attempt, 1000*time.Second)
		low, high := min(mean/2, 5*time.Second), min(mean*3/2, 5*time.Second)
		if d := c.delay(); d < low || d > high {
			t.Errorf("attempt %d after %s, want %s to %s", attempt, d, low, high)
		}
	}
}
