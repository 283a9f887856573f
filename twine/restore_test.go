package twine_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/parser"
)

// numbers returns "from" to "to" as texts.
func numbers(from, to int) (out []string) {
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

// publishNumbers returns when the events are in the log and were handed out.
func publishNumbers(t testing.TB, to twine.BroadcastOperator, from, upTo int) {
	t.Helper()
	for i := from; i <= upTo; i++ {
		if _, err := to.Publish(testContext(t), "", "n", i); err != nil {
			t.Fatal(err)
		}
	}
}

func emitNumbers(t testing.TB, to twine.BroadcastOperator, from, upTo int) {
	t.Helper()
	for i := from; i <= upTo; i++ {
		if err := to.Emit("n", i); err != nil {
			t.Fatal(err)
		}
	}
}

func awaitGone(t testing.TB, srv *testServer, sid string) {
	t.Helper()
	eventually(t, "the socket is gone", func() bool { return srv.Of("/").Socket(sid) == nil })
}

func TestRestore(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveRecovery(t, r)
		recovered := make(chan bool, 8)
		srv.OnConnect(func(s *twine.Socket) {
			if !s.Recovered() {
				s.SetData(map[string]int{"answer": 42})
			}
			recovered <- s.Recovered()
		})
		c := newStock(t).connect(srv)
		if receive(t, recovered) {
			t.Error("a new client is recovered")
		}
		first := c.view()
		if len(first.sid) != 20 || first.pid == "" || first.pid == first.sid {
			t.Errorf("connected with sid %q, pid %q", first.sid, first.pid)
		}
		c.emitEvent(`["join","other"]`)
		publishNumbers(t, srv.To("room"), 1, 3)
		c.expect("n", numbers(1, 3)...)
		for _, e := range c.view().seen {
			if _, err := recovery.ParseOffset(e.offset); err != nil {
				t.Errorf("event %v: %v", e, err)
			}
		}
		eventually(t, "the join", func() bool { return len(srv.Of("/").Socket(first.sid).Rooms()) == 3 })

		c.cut()
		awaitGone(t, srv, first.sid)
		publishNumbers(t, srv.To("room"), 4, 6)
		if err := srv.To("elsewhere").Emit("n", "not for it"); err != nil {
			t.Fatal(err)
		}
		if err := srv.To("room").Except("other").Emit("n", "not for it either"); err != nil {
			t.Fatal(err)
		}
		publishNumbers(t, srv.To("room", "other"), 7, 7)
		publishNumbers(t, srv.Except("nobody"), 8, 8)

		c.connect(srv)
		second := c.view()
		if !receive(t, recovered) || !second.recovered {
			t.Error("the client is not recovered")
		}
		if second.sid != first.sid || second.pid != first.pid {
			t.Errorf("sid %q, pid %q; was %q, %q", second.sid, second.pid, first.sid, first.pid)
		}
		c.expect("n", numbers(1, 8)...)
		if second.seenAt != 3 {
			t.Errorf("%d events came before CONNECT", second.seenAt-3)
		}
		s := srv.Of("/").Socket(second.sid)
		rooms := s.Rooms()
		slices.Sort(rooms)
		if want := []string{first.sid, "other", "room"}; len(rooms) != 3 || !slices.Contains(rooms, first.sid) || !slices.Contains(rooms, "other") {
			t.Errorf("rooms %v, want %v", rooms, want)
		}
		var data struct{ Answer int }
		if err := s.BindData(&data); err != nil || data.Answer != 42 {
			t.Errorf("data %+v, %v", data, err)
		}
		// Live again, and a second time.
		publishNumbers(t, srv.To("other"), 9, 9)
		c.expect("n", numbers(1, 9)...)
		c.cut()
		publishNumbers(t, srv.To("room"), 10, 10)
		c.connect(srv)
		c.expect("n", numbers(1, 10)...)
		if !c.view().recovered {
			t.Error("not recovered the second time")
		}
	})
}

func TestRestoreWithAttachments(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveRecovery(t, r)
		c := dial(t, srv)
		c.send("0")
		var granted struct{ PID string }
		if err := json.Unmarshal(c.next().Data, &granted); err != nil {
			t.Fatal(err)
		}
		c.sync()
		emit := func() {
			if _, err := srv.To("room").Publish(testContext(t), "", "blob", []byte{1, 2, 3}, "text"); err != nil {
				t.Fatal(err)
			}
		}
		emit()
		p := c.next()
		var args []any
		if err := json.Unmarshal(p.Data, &args); err != nil {
			t.Fatal(err)
		}
		c.cut()
		emit()
		c = dial(t, srv)
		c.send(fmt.Sprintf(`0{"pid":%q,"offset":%q}`, granted.PID, args[3]))
		if p := c.next(); p.Type != parser.Connect {
			t.Errorf("got %s, want CONNECT", describe(p))
		}
		again := c.next()
		if len(again.Attachments) != 1 || string(again.Attachments[0]) != "\x01\x02\x03" || !strings.Contains(string(again.Data), `"text"`) {
			t.Errorf("replayed %s %v", again.Data, again.Attachments)
		}
	})
}

func TestRestoreWithoutAnyEvent(t *testing.T) {
	for _, idle := range []bool{false, true} {
		t.Run(fmt.Sprintf("ResumeIdle=%v", idle), func(t *testing.T) {
			eachStore(t, func(t *testing.T, r *twine.Recovery) {
				r.ResumeIdle = idle
				srv := serveRecovery(t, r)
				c := newStock(t).connect(srv)
				first := c.view()
				eventually(t, "the join", func() bool { return len(srv.Of("/").Socket(first.sid).Rooms()) == 2 })
				c.cut()
				awaitGone(t, srv, first.sid)
				publishNumbers(t, srv.To("room"), 1, 2)
				c.connect(srv)
				second := c.view()
				if second.recovered != idle || (second.sid == first.sid) != idle {
					t.Errorf("recovered %v with id %q, was %q", second.recovered, second.sid, first.sid)
				}
				if idle {
					c.expect("n", "1", "2")
				} else if got := c.events("n"); len(got) > 0 {
					t.Errorf("a new session saw %v", got)
				}
			})
		})
	}
}

// Stock clients take any string in the last place for their position. What is not of the log must not move it back, nor
// past something that has yet to come.
func TestUnloggedEventsCarryThePosition(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveRecovery(t, r)
		c := newStock(t).connect(srv)
		s := srv.Of("/").Socket(c.view().sid)
		eventually(t, "the join", func() bool { return len(s.Rooms()) == 2 })
		emits := map[string]func(event string, args ...any) error{
			"socket volatile":    s.Volatile().Emit,
			"socket unlogged":    s.Unlogged().Emit,
			"broadcast volatile": srv.To("room").Volatile().Emit,
			"broadcast local":    srv.To("room").Local().Emit,
			"broadcast unlogged": srv.To("room").Unlogged().Emit,
		}
		n := 0
		for name, emit := range emits {
			// After logged events, and with them still on their way.
			for range 20 {
				n++
				emitNumbers(t, srv.To("room"), n, n)
				if err := emit("u", name, "looks like an offset"); err != nil {
					t.Error(err)
				}
			}
			c.expect("n", numbers(1, n)...)
			if err := emit("u", name, "last"); err != nil {
				t.Error(err)
			}
		}
		// An answer is asked for with a function in the last place.
		go func() { _, _ = s.EmitWithAck(testContext(t), "ack", "not an offset") }()
		eventually(t, "the event", func() bool { return len(c.events("ack")) == 1 })
		if got := c.events("ack"); got[0] != `"not an offset"` {
			t.Errorf("the client was asked %v", got)
		}
		go func() { _, _ = srv.To("room").EmitWithAck(testContext(t), "ack", "not an offset") }()
		eventually(t, "the event", func() bool { return len(c.events("ack")) == 2 })
		if got := c.events("ack"); got[1] != `"not an offset"` {
			t.Errorf("the client was asked %v", got)
		}
		c.cut()
		awaitGone(t, srv, s.ID())
		publishNumbers(t, srv.To("room"), n+1, n+1)
		if err := srv.To("room").Unlogged().Emit("u", "missed"); err != nil {
			t.Fatal(err)
		}
		publishNumbers(t, srv.To("room"), n+2, n+2) // returns when what was before has been handed out, too
		c.connect(srv)
		c.expect("n", numbers(1, n+2)...)
		if slices.Contains(c.events("u"), `"missed"`) {
			t.Error("an unlogged event was replayed")
		}
	})
}

func TestEmitToASocketThatIsAway(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveRecovery(t, r)
		c := newStock(t).connect(srv)
		s := srv.Of("/").Socket(c.view().sid)
		if err := s.Emit("n", 1); err != nil {
			t.Fatal(err)
		}
		c.expect("n", "1")
		c.cut()
		awaitGone(t, srv, s.ID())
		if err := s.Emit("n", 2); err != nil {
			t.Errorf("emit to a socket that may come back: %v", err)
		}
		publishNumbers(t, srv.To(s.ID()), 3, 3)
		c.connect(srv)
		c.expect("n", "1", "2", "3")
	})
}

func TestSocketsJoinAndDataOutliveACut(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveRecovery(t, r)
		c := newStock(t).connect(srv)
		sid := c.view().sid
		eventually(t, "the join", func() bool { return len(srv.Of("/").Socket(sid).Rooms()) == 2 })
		if err := srv.In("room").SocketsJoin("more", "and more"); err != nil {
			t.Fatal(err)
		}
		if err := srv.In("room").SocketsLeave("room"); err != nil {
			t.Fatal(err)
		}
		srv.Of("/").Socket(sid).SetData("hello")
		publishNumbers(t, srv.To("more"), 1, 1)
		c.expect("n", "1")
		c.cut()
		publishNumbers(t, srv.To("more", "room"), 2, 2)
		publishNumbers(t, srv.To("room"), 3, 3)
		publishNumbers(t, srv.To("and more"), 4, 4)
		c.connect(srv)
		c.expect("n", "1", "2", "4")
		var data string
		if err := srv.Of("/").Socket(sid).BindData(&data); err != nil || data != "hello" {
			t.Errorf("data %q, %v", data, err)
		}
	})
}

// A client that says goodbye starts anew, even if it changes its mind at once and over the same connection.
func TestGoodbyeEndsTheSession(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveRecovery(t, r)
		for range 20 {
			c := newStock(t).connect(srv)
			c.emitEvent(`777["sync"]`)
			publishNumbers(t, srv.To("room"), 1, 1)
			c.expect("n", "1")
			first := c.view()
			c.current().send("1")
			c.mu.Lock()
			c.connected = false
			c.mu.Unlock()
			c.current().send("0" + c.auth())
			eventually(t, "CONNECT", c.isConnected)
			if second := c.view(); second.recovered || second.sid == first.sid {
				t.Fatalf("recovered %v after a goodbye, id %q, was %q", second.recovered, second.sid, first.sid)
			}
			c.cut()
			awaitGone(t, srv, c.view().sid)
		}
	})
}

func TestServerDisconnectEndsTheSession(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveRecovery(t, r)
		c := newStock(t).connect(srv)
		sid := c.view().sid
		s := srv.Of("/").Socket(sid)
		eventually(t, "the join", func() bool { return len(s.Rooms()) == 2 })
		// What was emitted before the disconnect still arrives.
		emitNumbers(t, srv.To("room"), 1, 50)
		if err := s.Emit("n", 51); err != nil {
			t.Fatal(err)
		}
		s.Disconnect(true)
		c.expect("n", numbers(1, 51)...)
		eventually(t, "the session is gone", func() bool {
			c := newStock(t)
			c.pid, c.offset = c.view().pid, c.view().offset
			return !c.connect(srv).view().recovered
		})
		if err := s.Emit("n", 3); err == nil {
			t.Error("an event for a socket that will not come back was accepted")
		}
	})
}

func TestNamespacesAreRestoredApart(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveRecovery(t, r)
		srv.Of("/chat").OnConnect(func(s *twine.Socket) {
			if !s.Recovered() {
				s.Join("room")
			}
		})
		a, b := newStock(t), newStock(t)
		b.ns = "/chat"
		a.connect(srv)
		b.connect(srv)
		eventually(t, "the joins", func() bool {
			return len(members(t, srv.To("room"))) == 1 && len(members(t, srv.Of("/chat").In("room"))) == 1
		})
		publishNumbers(t, srv.To("room"), 1, 1)
		publishNumbers(t, srv.Of("/chat").To("room"), 1, 1)
		a.expect("n", "1")
		b.expect("n", "1")
		a.cut()
		b.cut()
		publishNumbers(t, srv.To("room"), 2, 2)
		publishNumbers(t, srv.Of("/chat").To("room"), 3, 3)
		// The private id of one namespace is worth nothing in the other.
		forger := newStock(t)
		forger.ns, forger.pid, forger.offset = "/chat", a.view().pid, a.view().offset
		if forger.connect(srv).view().recovered {
			t.Error("recovered in another namespace")
		}
		a.connect(srv)
		b.connect(srv)
		a.expect("n", "1", "2")
		b.expect("n", "1", "3")
	})
}
