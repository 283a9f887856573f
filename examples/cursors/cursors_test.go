package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

const patience = time.Minute

func start(t *testing.T) *httptest.Server {
	b := newBoard()
	web := httptest.NewServer(b.routes())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.realtime.Close(ctx); err != nil {
			t.Error(err)
		}
		web.Close()
	})
	return web
}

// client is a person's connection.
type client struct {
	t    *testing.T
	conn io.Closer
	ends io.ReadWriter
	asks int
}

func connect(t *testing.T, web *httptest.Server) *client {
	t.Helper()
	conn, early, _, err := ws.Dial(t.Context(), strings.Replace(web.URL, "http", "ws", 1)+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	c := &client{t: t, conn: conn, ends: conn}
	if early != nil {
		c.ends = struct {
			io.Reader
			io.Writer
		}{early, conn}
	}
	c.say("40")
	c.next("40")
	return c
}

func (c *client) say(packet string) {
	c.t.Helper()
	if err := wsutil.WriteClientText(c.ends, []byte(packet)); err != nil {
		c.t.Fatal(err)
	}
}

// next returns what follows prefix in the next packet, less the opening.
func (c *client) next(prefix string) string {
	c.t.Helper()
	for {
		data, err := wsutil.ReadServerText(c.ends)
		if err != nil {
			c.t.Fatalf("%v, want %s", err, prefix)
		}
		if data[0] == '0' {
			continue
		}
		rest, found := strings.CutPrefix(string(data), prefix)
		if !found {
			c.t.Fatalf("got %s, want %s", data, prefix)
		}
		return rest
	}
}

// ask emits an event and returns its acknowledgement, less the brackets.
func (c *client) ask(event, arg string) string {
	c.t.Helper()
	c.asks++
	c.say(fmt.Sprintf("42%d[%q,%s]", c.asks, event, arg))
	return strings.TrimSuffix(c.next(fmt.Sprintf("43%d[", c.asks)), "]")
}

func (c *client) join(name string) (w Welcome) {
	c.t.Helper()
	answer := c.ask("join", fmt.Sprintf(`{"name":%q}`, name))
	if err := json.Unmarshal([]byte(answer), &w); err != nil || w.You.Name != name {
		c.t.Fatalf("%s: %v", answer, err)
	}
	return w
}

func TestCursors(t *testing.T) {
	web := start(t)
	ada, bob := connect(t, web), connect(t, web)
	first := ada.join("Ada")
	second := bob.join("Bob")
	if len(first.Others) != 0 || len(second.Others) != 1 || second.Others[0] != first.You || first.You.Color == second.You.Color {
		t.Errorf("Ada: %+v, Bob: %+v", first, second)
	}
	if got, want := ada.next(`42["joined",`), fmt.Sprintf(`{"id":%q,"name":"Bob","color":137}]`, second.You.ID); got != want {
		t.Errorf("Ada is told %s, want %s", got, want)
	}
	moved, want := bob.moveUntilTold(ada), fmt.Sprintf(`42["moved",{"id":%q,"x":0.25,"y":1}]`, second.You.ID)
	if moved != want {
		t.Errorf("Ada is told %s, want %s", moved, want)
	}
	bob.conn.Close()
	if got, want := ada.after(`42["moved",`), fmt.Sprintf(`42["left",%q]`, second.You.ID); got != want {
		t.Errorf("Ada is told %s, want %s", got, want)
	}
}

// moveUntilTold moves until the other is told something, and returns that. A move is dropped when the server is not done yet
// with what it sent before; the next one tells the same.
func (c *client) moveUntilTold(other *client) string {
	c.t.Helper()
	told := make(chan string, 1)
	go func() { told <- other.after("2") }()
	for {
		if answer := c.ask("move", `{"x":0.25,"y":1}`); answer != "" {
			c.t.Errorf("a move is answered with %s", answer)
		}
		select {
		case packet := <-told:
			return packet
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// after returns the next packet that does not begin with prefix, or says what went wrong. Pings are not answered.
func (c *client) after(prefix string) string {
	for {
		data, err := wsutil.ReadServerText(c.ends)
		if err != nil {
			return err.Error()
		}
		if text := string(data); text != "2" && !strings.HasPrefix(text, prefix) {
			return text
		}
	}
}

// TestWhatIsRefused is answered, and disturbs nobody.
func TestWhatIsRefused(t *testing.T) {
	web := start(t)
	ada, bob := connect(t, web), connect(t, web)
	ada.join("Ada")
	for _, try := range []struct{ event, arg, why string }{
		{"move", `{"x":0,"y":0}`, "not joined"},
		{"join", `{"name":""}`, "1 to 20 letters"},
		{"join", `{"name":"abcdefghijklmnopqrstu"}`, "1 to 20 letters"},
		{"join", `{"name":"żółćżółćżółćżółćżółć"}`, `"you":`},
		{"join", `{"name":"Bob"}`, "joined already"},
		{"join", `{"name":7}`, "error"},
		{"move", `{"x":1.1,"y":0}`, "not a place"},
		{"move", `{"x":0,"y":-1}`, "not a place"},
		{"move", `"here"`, "error"},
	} {
		if answer := bob.ask(try.event, try.arg); !strings.Contains(answer, try.why) {
			t.Errorf("%s %s is answered with %s", try.event, try.arg, answer)
		}
	}
	ada.next(`42["joined",`)
	if told := bob.moveUntilTold(ada); !strings.HasPrefix(told, `42["moved",`) {
		t.Errorf("in between, Ada was told %s", told)
	}
}

func TestFullBoard(t *testing.T) {
	b := newBoard()
	for i := range maxPeople {
		b.people[fmt.Sprint(i)] = Person{}
	}
	web := httptest.NewServer(b.routes())
	defer web.Close()
	c := connect(t, web)
	if answer := c.ask("join", `{"name":"Ada"}`); !strings.Contains(answer, "full") {
		t.Errorf("got %s", answer)
	}
	c.conn.Close()
	if err := b.realtime.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
