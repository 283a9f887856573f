package twine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
	"github.com/twine-realtime/twine/recovery/memory"
	"github.com/twine-realtime/twine/twine"
)

// away returns a client that has seen event 1 and was cut off, in the rooms "room" and "other", with 2 to 5 to come.
func away(t *testing.T, srv *testServer) *stockClient {
	t.Helper()
	c := newStock(t).connect(srv)
	c.keepBuffer = true
	c.emitEvent(`["join","other"]`)
	sid := c.view().sid
	eventually(t, "the joins", func() bool { return len(srv.Of("/").Socket(sid).Rooms()) == 3 })
	publishNumbers(t, srv.To("room"), 1, 1)
	c.expect("n", "1")
	c.cut()
	awaitGone(t, srv, sid)
	publishNumbers(t, srv.To("room", "other"), 2, 5)
	return c
}

// Every call of the stores that a restore makes is a step at which it can be cut. Whatever happens there, before or after
// it took effect, the next attempt gets everything.
func TestCutBetweenAnyTwoSteps(t *testing.T) {
	steps := []struct {
		log bool
		op  string
		n   int
	}{{false, "claim", 1}, {true, "read", 1}, {true, "read", 2}, {false, "store", 1}}
	for _, step := range steps {
		for _, afterwards := range []bool{false, true} {
			for _, how := range []string{"cut", "half-open", "fail"} {
				t.Run(fmt.Sprintf("%s %d/after=%v/%s", step.op, step.n, afterwards, how), func(t *testing.T) {
					r, sessions, log := gated()
					srv := serveRecovery(t, r)
					c := away(t, srv)
					at := sessions
					if step.log {
						at = log
					}
					reached, letGo := at.blockAt(step.op, step.n, afterwards)
					defer letGo()
					if how == "fail" {
						n := step.n
						fail := func(_ context.Context, op string) error {
							if op == step.op {
								if n--; n == 0 {
									close(reached)
									return errDown
								}
							}
							return nil
						}
						if afterwards {
							at.set(nil, fail)
						} else {
							at.set(fail, nil)
						}
					}
					c.dial(srv)
					receive(t, reached)
					switch how {
					case "cut":
						c.cut()
						letGo()
					case "half-open":
						old := c.leave()
						defer old.cut()
						defer letGo() // only when the second attempt is over
					case "fail":
						if step.op == "store" {
							eventually(t, "CONNECT", c.isConnected)
						} else {
							conn := c.current()
							conn.expectClosed()
						}
						c.cut()
					}
					at.up()
					if how == "half-open" && !afterwards && step.op == "claim" {
						letGo() // claims of one session wait for each other
					}
					c.dial(srv)
					if how == "half-open" {
						time.AfterFunc(20*time.Millisecond, letGo)
					}
					eventually(t, "CONNECT", c.isConnected)
					if v := c.view(); !v.recovered {
						t.Error("not recovered")
					}
					publishNumbers(t, srv.To("other"), 6, 6)
					c.expect("n", numbers(1, 6)...)
					// Nothing that the loser does later disturbs it.
					letGo()
					eventually(t, "one socket", func() bool { return len(srv.Of("/").Sockets()) == 1 })
					publishNumbers(t, srv.To("room"), 7, 7)
					c.expect("n", numbers(1, 7)...)
					c.cut()
					publishNumbers(t, srv.To("other"), 8, 8)
					c.connect(srv)
					c.expect("n", numbers(1, 8)...)
				})
			}
		}
	}
}

// Two connections show the same private id at once. One of them gets the session and nothing is lost or split.
func TestTwoConnectionsWithOneSession(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveRecovery(t, r)
		for round := range 15 {
			c := away(t, srv)
			twin := newStock(t)
			twin.pid, twin.offset = c.view().pid, c.view().offset
			c.dial(srv)
			var old *testClient
			if round%2 == 0 {
				old = c.leave()
			}
			twin.dial(srv)
			sid := c.view().sid
			publishNumbers(t, srv.To("other"), 6, 6)
			// Whichever connection came last has the session. If that is the one that nobody reads, the client is back soon.
			eventually(t, "event 6", func() bool {
				if !c.isConnected() && twin.isClosed() {
					twin.cut()
					twin.dial(srv)
				}
				return slices.Equal(twin.events("n"), numbers(2, 6)) || slices.Equal(c.events("n"), numbers(1, 6))
			})
			eventually(t, "one socket", func() bool { return slices.Equal(members(t, srv.To("room")), []string{sid}) })
			c.cut()
			twin.cut()
			if old != nil {
				old.cut()
			}
			awaitGone(t, srv, sid)
		}
	})
}

// A client is back before the server has noticed that it was gone.
func TestHalfOpenSocketIsTakenOver(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveRecovery(t, r)
		reasons := make(chan string, 8)
		srv.OnDisconnect(func(_ *twine.Socket, reason string) { reasons <- reason })
		c := newStock(t).connect(srv)
		s := srv.Of("/").Socket(c.view().sid)
		eventually(t, "the join", func() bool { return len(s.Rooms()) == 2 })
		publishNumbers(t, srv.To("room"), 1, 1)
		c.expect("n", "1")
		old := c.leave()
		defer old.cut()
		// The store does not know this room yet, maybe.
		if err := srv.In("room").SocketsJoin("fresh"); err != nil {
			t.Fatal(err)
		}
		publishNumbers(t, srv.To("room"), 2, 3)
		c.connect(srv)
		old.expectClosed()
		if got := receive(t, reasons); got != twine.ReasonTransportClose {
			t.Errorf("the old socket ended because of %q", got)
		}
		if !c.view().recovered {
			t.Error("not recovered")
		}
		publishNumbers(t, srv.To("fresh"), 4, 4)
		c.expect("n", numbers(1, 4)...)
	})
}

// What the client asked for right before it was cut is done by a handler of its old socket. The room is the new one's.
func TestHandlersOfTheOldSocketCountForTheNewOne(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveRecovery(t, r)
		started, proceed := make(chan struct{}), make(chan struct{})
		twine.HandleEvent(srv, "slow join", func(_ context.Context, s *twine.Socket, room string) error {
			close(started)
			<-proceed
			s.Join(room)
			s.Leave("room")
			s.SetData("late")
			return s.Emit("n", "joined")
		})
		c := newStock(t).connect(srv)
		sid := c.view().sid
		eventually(t, "the join", func() bool { return len(srv.Of("/").Socket(sid).Rooms()) == 2 })
		publishNumbers(t, srv.To("room"), 1, 1)
		c.expect("n", "1")
		c.emitEvent(`["slow join","late"]`)
		receive(t, started)
		c.cut()
		c.connect(srv)
		close(proceed)
		c.expect("n", "1", `"joined"`)
		publishNumbers(t, srv.To("late"), 2, 2)
		publishNumbers(t, srv.To("room"), 3, 3)
		publishNumbers(t, srv.To("late"), 4, 4)
		c.expect("n", "1", `"joined"`, "2", "4")
		if got := srv.Of("/").Socket(sid).Data(); got != "late" {
			t.Errorf("data %v", got)
		}
		c.cut()
		awaitGone(t, srv, sid)
		c.connect(srv)
		publishNumbers(t, srv.To("late"), 5, 5)
		c.expect("n", "1", `"joined"`, "2", "4", "5")
	})
}

// The store does not answer: the client is to come back with what it has. It must not be told that it has nothing.
func TestStoreIsDown(t *testing.T) {
	for _, what := range []string{"sessions", "log"} {
		t.Run(what, func(t *testing.T) {
			r, sessions, log := gated()
			srv := serveRecovery(t, r)
			c := away(t, srv)
			if what == "sessions" {
				sessions.down()
			} else {
				log.down("read")
			}
			for range 3 {
				c.dial(srv)
				conn := c.current()
				conn.expectClosed()
				if v := c.view(); v.connects > 1 || c.refused != "" {
					t.Fatalf("the client was told %+v %s", v, c.refused)
				}
				c.cut()
			}
			// Others are served meanwhile.
			fresh := newStock(t).connect(srv)
			publishNumbers(t, srv.Except("nobody"), 6, 6)
			fresh.expect("n", "6")
			sessions.up()
			log.up()
			c.connect(srv)
			c.expect("n", numbers(1, 6)...)
			if !c.view().recovered {
				t.Error("not recovered")
			}
		})
	}
}

// The session could not be stored while the client was connected, but can be when it leaves.
func TestStoreComesBackBeforeTheClientLeaves(t *testing.T) {
	r, sessions, _ := gated()
	srv := serveRecovery(t, r)
	sessions.down()
	c := newStock(t).connect(srv)
	eventually(t, "attempts", func() bool { return sessions.count("create") >= 2 })
	publishNumbers(t, srv.Except("nobody"), 1, 1)
	c.expect("n", "1")
	sessions.up()
	sid := c.view().sid
	c.cut()
	eventually(t, "the release", func() bool { return sessions.count("release") == 1 })
	publishNumbers(t, srv.To("room"), 2, 2)
	c.connect(srv)
	c.expect("n", "1", "2")
	if v := c.view(); !v.recovered || v.sid != sid {
		t.Errorf("%+v", v)
	}
}

// The store is down while a client is restored: it lives on with what was claimed, and its joins are not forgotten.
func TestStoreIsDownAfterTheClaim(t *testing.T) {
	r, sessions, _ := gated()
	srv := serveRecovery(t, r)
	c := away(t, srv)
	sessions.down("store")
	c.connect(srv)
	c.expect("n", numbers(1, 5)...)
	c.emitEvent(`["join","third"]`)
	sid := c.view().sid
	eventually(t, "the join", func() bool { return len(srv.Of("/").Socket(sid).Rooms()) == 4 })
	sessions.up()
	c.cut()
	awaitGone(t, srv, sid)
	publishNumbers(t, srv.To("third"), 6, 6)
	c.connect(srv)
	c.expect("n", numbers(1, 6)...)
}

func TestMiddlewareRefusesARestoredClient(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		r.RunMiddleware = true
		srv := serveRecovery(t, r)
		var mu sync.Mutex
		var refusal error
		srv.Use(func(context.Context, *twine.Socket) error {
			mu.Lock()
			defer mu.Unlock()
			return refusal
		})
		set := func(err error) { mu.Lock(); refusal = err; mu.Unlock() }
		c := away(t, srv)
		set(errors.New("not now"))
		for range 3 {
			c.dial(srv)
			eventually(t, "the refusal", func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.refused == `{"message":"not now"}`
			})
			if rand := len(srv.Of("/").Sockets()); rand > 0 {
				t.Errorf("%d sockets", rand)
			}
		}
		set(nil)
		c.cut()
		c.connect(srv)
		c.expect("n", numbers(1, 5)...)
		if !c.view().recovered {
			t.Error("not recovered")
		}
	})
}

func TestForgedCredentials(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveRecovery(t, r)
		c := away(t, srv)
		v := c.view()
		future := recovery.OffsetAt(time.Now().Add(time.Hour)).String()
		for _, auth := range []string{
			`{"pid":"unknown","offset":"` + v.offset + `"}`,
			`{"pid":"","offset":"` + v.offset + `"}`,
			`{"pid":"` + v.sid + `","offset":"` + v.offset + `"}`,
			`{"pid":"/#` + v.pid + `","offset":"` + v.offset + `"}`,
			`{"pid":"` + v.pid + `"}`,
			`{"pid":"` + v.pid + `","offset":""}`,
			`{"pid":"` + v.pid + `","offset":null}`,
			`{"pid":"` + v.pid + `","offset":"0"}`,
			`{"pid":"` + v.pid + `","offset":"-1-0"}`,
			`{"pid":"` + v.pid + `","offset":"99999999999999999999-0"}`,
			`{"pid":"` + v.pid + `","offset":"01-0"}`,
			`{"pid":"` + v.pid + `","offset":17}`,
			`{"pid":17,"offset":"` + v.offset + `"}`,
			`{"pid":{"a":1},"offset":[1]}`,
			`{"pid":["` + v.pid + `"],"offset":{}}`,
			`{"offset":"` + v.offset + `"}`,
			`{}`, ``,
		} {
			forger := newStock(t)
			forger.dialAuth(srv, auth)
			eventually(t, "CONNECT", forger.isConnected)
			if w := forger.view(); w.sid == v.sid || w.pid == v.pid || len(w.seen) > 0 {
				t.Errorf("%s: %+v", auth, w)
			}
			forger.cut()
		}
		// None of them has cost the owner anything.
		c.connect(srv)
		c.expect("n", numbers(1, 5)...)
		if !c.view().recovered {
			t.Error("not recovered")
		}
		// From the future: there is nothing to restore.
		c.cut()
		awaitGone(t, srv, v.sid)
		c.dialAuth(srv, `{"pid":"`+v.pid+`","offset":"`+future+`"}`)
		eventually(t, "CONNECT", c.isConnected)
		if w := c.view(); w.recovered || w.sid == v.sid {
			t.Errorf("restored from the future: %+v", w)
		}
	})
}

func TestSessionExpires(t *testing.T) {
	var late atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	store, err := disk.Open(t.TempDir()+"/h.db", disk.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for name, sessions := range map[string]recovery.Sessions{
		"memory": memory.NewSessions(memory.SessionsOptions{Now: now}),
		"disk":   store.Sessions(),
	} {
		t.Run(name, func(t *testing.T) {
			late.Store(0)
			srv := serveRecovery(t, &twine.Recovery{Sessions: sessions, MaxDisconnection: time.Minute})
			c := newStock(t).connect(srv)
			publishNumbers(t, srv.Except("nobody"), 1, 1)
			c.expect("n", "1")
			first := c.view()
			for _, lateness := range []time.Duration{59 * time.Second, 3 * time.Minute} {
				c.cut()
				eventually(t, "the release", func() bool { return srv.Of("/").Socket(first.sid) == nil && srv.Leftovers() == 0 })
				late.Add(int64(lateness))
				c.connect(srv)
				if v := c.view(); v.recovered != (lateness < time.Minute) || (v.sid == first.sid) != v.recovered {
					t.Errorf("after %v: recovered %v", lateness, v.recovered)
				}
			}
		})
	}
}
