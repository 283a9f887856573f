package twine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine"
)

// tab returns a page of a browser that has joined nothing but what it resumes.
func tab(t *testing.T, browser string) *stockClient {
	c := newStock(t)
	c.cookie = browser
	return c
}

// serveTabs is a server whose clients join what they ask for, and nothing else.
func serveTabs(t *testing.T, r *twine.Recovery, change ...func(*twine.Options)) *testServer {
	t.Helper()
	opts := &twine.Options{Recovery: withCookies(r)}
	for _, f := range change {
		f(opts)
	}
	srv := serve(t, opts)
	onSync(srv)
	twine.HandleEvent(srv, "join", func(_ context.Context, s *twine.Socket, room string) error {
		s.Join(room)
		return nil
	})
	return srv
}

func (c *stockClient) joinRoom(srv *testServer, room string) {
	c.t.Helper()
	c.emitEvent(fmt.Sprintf(`["join",%q]`, room))
	sid := c.view().sid
	eventually(c.t, "the join", func() bool {
		s := srv.Of("/").Socket(sid)
		return s != nil && slices.Contains(s.Rooms(), room)
	})
}

// reload leaves the page and returns the next one.
func (c *stockClient) reload(t *testing.T, srv *testServer) *stockClient {
	sid := c.view().sid
	c.cut()
	awaitGone(t, srv, sid)
	return tab(t, c.cookie)
}

func TestReloadResumes(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		resumed := make(chan bool, 8)
		srv := serveTabs(t, r, fastPings)
		srv.OnConnect(func(s *twine.Socket) { resumed <- s.Resumed() && !s.Recovered() })
		page := tab(t, "browser").connect(srv)
		if receive(t, resumed) {
			t.Error("a new browser resumes")
		}
		page.joinRoom(srv, "room")
		publishNumbers(t, srv.To("room"), 1, 2)
		page.expect("n", "1", "2")
		page.awaitPongs()
		next := page.reload(t, srv)
		publishNumbers(t, srv.To("room"), 3, 4)
		publishNumbers(t, srv.To("elsewhere"), 5, 5)
		next.connect(srv)
		if v := next.view(); !receive(t, resumed) || v.recovered || v.sid == page.view().sid {
			t.Errorf("not resumed: %+v", v)
		}
		// The first two were confirmed by a pong.
		next.expect("n", "3", "4")
		publishNumbers(t, srv.To("room"), 6, 6)
		next.expect("n", "3", "4", "6")
		// Gone with a goodbye, as pages do.
		sid := next.view().sid
		next.current().send("1")
		awaitGone(t, srv, sid)
		third := tab(t, "browser")
		publishNumbers(t, srv.To("room"), 7, 7)
		third.connect(srv)
		eventually(t, "event 7", func() bool { return slices.Contains(third.events("n"), "7") })
		// Another browser has nothing of it.
		other := tab(t, "other").connect(srv)
		publishNumbers(t, srv.To("room"), 8, 8)
		eventually(t, "event 8", func() bool { return slices.Contains(third.events("n"), "8") })
		if got := other.events("n"); len(got) > 0 {
			t.Errorf("another browser got %v", got)
		}
	})
}

// What no pong has confirmed may have been lost with the old page. It comes again, rather than never.
func TestReloadResumesFromTheLastPong(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveTabs(t, r) // no ping in the time of this test
		page := tab(t, "browser").connect(srv)
		page.joinRoom(srv, "room")
		publishNumbers(t, srv.To("room"), 1, 3)
		page.expect("n", "1", "2", "3")
		page = page.reload(t, srv)
		page.connect(srv)
		page.expect("n", "1", "2", "3")
		// The application knows better.
		last, err := recovery.ParseOffset(page.view().offset)
		if err != nil {
			t.Fatal(err)
		}
		s := srv.Of("/").Socket(page.view().sid)
		s.ConfirmReceived(time.Time{})
		s.ConfirmReceived(time.UnixMilli(-5))
		s.ConfirmReceived(last.Time().Add(time.Millisecond))
		page = page.reload(t, srv)
		publishNumbers(t, srv.To("room"), 4, 4)
		page.connect(srv)
		eventually(t, "event 4", func() bool { return slices.Contains(page.events("n"), "4") })
		if got := page.events("n"); len(got) > 2 || got[len(got)-1] != "4" {
			t.Errorf("after a confirmation of 3 the page got %v", got)
		}
		// It claims to have got what has not been sent yet.
		s = srv.Of("/").Socket(page.view().sid)
		s.ConfirmReceived(time.Now().Add(time.Hour))
		page = page.reload(t, srv)
		publishNumbers(t, srv.To("room"), 5, 6)
		page.connect(srv)
		page.expect("n", "5", "6")
	})
}

func TestNewTabLeavesLivingOnesAlone(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveTabs(t, r)
		one := tab(t, "browser").connect(srv)
		one.joinRoom(srv, "one")
		publishNumbers(t, srv.To("one"), 1, 1)
		one.expect("n", "1")
		two := tab(t, "browser").connect(srv)
		two.joinRoom(srv, "two")
		publishNumbers(t, srv.To("one", "two"), 2, 2)
		publishNumbers(t, srv.To("two"), 3, 3)
		publishNumbers(t, srv.To("one"), 4, 4)
		one.expect("n", "1", "2", "4")
		two.expect("n", "2", "3")
		// The first one is reloaded, and the second stays as it is.
		one = one.reload(t, srv)
		publishNumbers(t, srv.To("one"), 5, 5)
		one.connect(srv)
		eventually(t, "event 5", func() bool { return slices.Contains(one.events("n"), "5") })
		publishNumbers(t, srv.To("two"), 6, 6)
		two.expect("n", "2", "3", "6")
		if got := one.events("n"); slices.Contains(got, "3") || slices.Contains(got, "6") {
			t.Errorf("the first tab got events of the second: %v", got)
		}
		if !two.isConnected() {
			t.Error("the second tab was disturbed")
		}
	})
}

// The old page's connection looks alive, but nobody is there.
func TestHalfOpenTabIsTakenOver(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveTabs(t, r)
		page := tab(t, "browser").connect(srv)
		page.joinRoom(srv, "room")
		if err := srv.In("room").SocketsJoin("fresh"); err != nil {
			t.Fatal(err)
		}
		publishNumbers(t, srv.To("room"), 1, 1)
		page.expect("n", "1")
		old := page.leave()
		defer old.cut()
		publishNumbers(t, srv.To("room"), 2, 2)
		next := tab(t, "browser").connect(srv)
		old.expectClosed()
		publishNumbers(t, srv.To("fresh"), 3, 3)
		next.expect("n", "1", "2", "3")
	})
}

// Two tabs are cut off together. Nobody can tell which comes back first, and none may miss anything.
func TestTabsThatWereCutTogether(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveTabs(t, r, fastPings)
		one, two := tab(t, "browser").connect(srv), tab(t, "browser").connect(srv)
		one.joinRoom(srv, "one")
		two.joinRoom(srv, "two")
		publishNumbers(t, srv.To("one", "two"), 1, 1)
		one.expect("n", "1")
		two.expect("n", "1")
		one.awaitPongs()
		two.awaitPongs()
		one, two = one.reload(t, srv), two.reload(t, srv)
		publishNumbers(t, srv.To("one"), 2, 2)
		publishNumbers(t, srv.To("two"), 3, 3)
		publishNumbers(t, srv.To("one", "two"), 4, 4)
		one.dial(srv)
		two.dial(srv)
		one.expect("n", "2", "3", "4")
		two.expect("n", "2", "3", "4")
		publishNumbers(t, srv.To("one"), 5, 5)
		publishNumbers(t, srv.To("two"), 6, 6)
		one.expect("n", "2", "3", "4", "5", "6")
		two.expect("n", "2", "3", "4", "5", "6")
	})
}

// A page that resumes is cut again before, while and after it gets what it missed.
func TestCutWhileResuming(t *testing.T) {
	for _, step := range []struct {
		op         string
		afterwards bool
		log        bool
	}{{"bytwineid", true, false}, {"claim", false, false}, {"claim", true, false}, {"read", false, true}, {"read", true, true},
		{"create", false, false}, {"create", true, false}, {"delete", false, false}, {"delete", true, false}} {
		t.Run(fmt.Sprintf("%s/after=%v", step.op, step.afterwards), func(t *testing.T) {
			r, sessions, log := gated()
			srv := serveTabs(t, r)
			page := tab(t, "browser").connect(srv)
			page.joinRoom(srv, "room")
			publishNumbers(t, srv.To("room"), 1, 3)
			page.expect("n", "1", "2", "3")
			page = page.reload(t, srv)
			g := sessions
			if step.log {
				g = log
			}
			reached, letGo := g.blockAt(step.op, 1, step.afterwards)
			page.dial(srv)
			receive(t, reached)
			page.cut()
			publishNumbers(t, srv.To("room"), 4, 4)
			letGo()
			g.up()
			eventually(t, "the socket is gone", func() bool { return len(srv.Of("/").Sockets()) == 0 })
			next := tab(t, "browser").connect(srv)
			eventually(t, "everything", func() bool { return slices.Contains(next.events("n"), "4") })
			got := next.events("n")
			if !slices.Equal(got, numbers(1, 4)) {
				t.Errorf("the next page got %v", got)
			}
			publishNumbers(t, srv.To("room"), 5, 5)
			next.expect("n", numbers(1, 5)...)
		})
	}
}

// The store could not be told that the client is gone. Its session does not look held forever.
func TestStoreIsDownWhenAPageLeaves(t *testing.T) {
	for _, op := range []string{"release", "claim"} {
		t.Run(op, func(t *testing.T) {
			r, sessions, _ := gated()
			srv := serveTabs(t, r)
			page := tab(t, "browser").connect(srv)
			page.joinRoom(srv, "room")
			publishNumbers(t, srv.To("room"), 1, 1)
			page.expect("n", "1")
			if op == "release" {
				sessions.down("release")
				page.reload(t, srv)
				eventually(t, "the attempt", func() bool { return sessions.count("release") > 0 })
			} else {
				// The claim takes effect, but its answer is lost.
				page = page.reload(t, srv)
				sessions.set(nil, func(_ context.Context, op string) error {
					if op == "claim" {
						return errDown
					}
					return nil
				})
				page.dial(srv)
				page.current().expectClosed()
				page.cut()
			}
			sessions.up()
			publishNumbers(t, srv.To("room"), 2, 2)
			eventually(t, "the page resumes", func() bool {
				next := tab(t, "browser").connect(srv)
				defer next.cut()
				s := srv.Of("/").Socket(next.view().sid)
				return s != nil && s.Resumed() && slices.Contains(s.Rooms(), "room")
			})
		})
	}
}

// Replay begins after a while, and what is published meanwhile waits for it.
func TestResumeDelay(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		r.ResumeDelay = 100 * time.Millisecond
		srv := serveTabs(t, r)
		page := tab(t, "browser").connect(srv)
		page.joinRoom(srv, "room")
		publishNumbers(t, srv.To("room"), 1, 2)
		page.expect("n", "1", "2")
		page = page.reload(t, srv)
		publishNumbers(t, srv.To("room"), 3, 3)
		begin := time.Now()
		page.connect(srv)
		s := srv.Of("/").Socket(page.view().sid)
		publishNumbers(t, srv.To("room"), 4, 5)
		if err := s.Unlogged().Emit("u", "at once"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the unlogged event", func() bool { return len(page.events("u")) == 1 })
		if got := page.events("n"); len(got) > 0 && time.Since(begin) < r.ResumeDelay {
			t.Errorf("early: %v", got)
		}
		page.expect("n", numbers(1, 5)...)
		// Cut before the delay is over: nothing of it counts as received.
		page = page.reload(t, srv)
		page.connect(srv)
		page = page.reload(t, srv).connect(srv)
		eventually(t, "the last event", func() bool { return slices.Contains(page.events("n"), "5") })
		if got := page.events("n"); !slices.Equal(got, numbers(1, 5)) {
			t.Errorf("got %v", got)
		}
	})
}

func TestPageThatMissedTooMuchKeepsItsRooms(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		r.MaxReplay = 3
		srv := serveTabs(t, r)
		page := tab(t, "browser").connect(srv)
		page.joinRoom(srv, "one")
		page.joinRoom(srv, "two")
		publishNumbers(t, srv.To("one"), 1, 1)
		page.expect("n", "1")
		from := page.view().offset
		before, err := recovery.ParseOffset(from)
		if err != nil {
			t.Fatal(err)
		}
		srv.Of("/").Socket(page.view().sid).ConfirmReceived(before.Time())
		stored := make(chan recovery.State, 1)
		page = page.reload(t, srv)
		eventually(t, "the release", func() bool {
			states, err := r.Sessions.ByTwineID(context.Background(), "browser")
			if err != nil || len(states) != 1 || states[0].Owner != "" {
				return false
			}
			stored <- states[0]
			return true
		})
		publishNumbers(t, srv.To("one", "two"), 2, 6)
		position := receive(t, stored).Position.String()
		// Cut at once: it is told again, until a pong says that it knows.
		for range 2 {
			page.connect(srv)
			page.expectGaps(position, "one", "two")
			page = page.reload(t, srv)
		}
		page.connect(srv)
		page.expectGaps(position, "one", "two")
		publishNumbers(t, srv.To("one"), 7, 7)
		publishNumbers(t, srv.To("two"), 8, 8)
		page.expect("n", "7", "8")
	})
}

// With a stock client in a page, its own session comes first, and the gap keeps the rooms.
func TestStockClientWithACookie(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		r.MaxReplay = 3
		srv := serveTabs(t, r)
		page := tab(t, "browser").connect(srv)
		page.joinRoom(srv, "room")
		publishNumbers(t, srv.To("room"), 1, 1)
		page.expect("n", "1")
		first := page.view()
		page.cut()
		publishNumbers(t, srv.To("room"), 2, 3)
		page.connect(srv)
		page.expect("n", "1", "2", "3")
		if v := page.view(); !v.recovered || v.sid != first.sid {
			t.Error("not recovered")
		}
		offset := page.view().offset
		page.cut()
		awaitGone(t, srv, first.sid)
		publishNumbers(t, srv.To("room"), 4, 9)
		page.connect(srv)
		if page.view().recovered {
			t.Error("recovered across a hole")
		}
		page.expectGaps(offset, "room")
		publishNumbers(t, srv.To("room"), 10, 10)
		page.expect("n", "1", "2", "3", "10")
		// The session that was replaced is not there for another tab.
		other := tab(t, "browser").connect(srv)
		if rooms := srv.Of("/").Socket(other.view().sid).Rooms(); len(rooms) != 1 {
			t.Errorf("another tab is in %v", rooms)
		}
	})
}

func TestIdentityIsNotFound(t *testing.T) {
	r, sessions, _ := gated()
	srv := serveTabs(t, r)
	sessions.down("bytwineid")
	page := tab(t, "browser")
	page.dial(srv)
	page.current().expectClosed()
	sessions.up()
	page.cut()
	page.connect(srv)
	var err error
	if _, err = sessionsOf(r, "browser"); errors.Is(err, errDown) {
		t.Error(err)
	}
}

func sessionsOf(r *twine.Recovery, id string) ([]recovery.State, error) {
	return r.Sessions.ByTwineID(context.Background(), id)
}

// The next page is there while the session of the one before is being stored, or its handlers are still running.
func TestReloadOvertakesTheRelease(t *testing.T) {
	for _, goodbye := range []bool{false, true} {
		t.Run(fmt.Sprintf("goodbye=%v", goodbye), func(t *testing.T) {
			r, sessions, _ := gated()
			srv := serveTabs(t, r)
			leaving := make(chan struct{}, 8)
			proceed := make(chan struct{})
			srv.OnDisconnecting(func(*twine.Socket, string) {
				leaving <- struct{}{}
				<-proceed
			})
			page := tab(t, "browser").connect(srv)
			page.joinRoom(srv, "room")
			publishNumbers(t, srv.To("room"), 1, 1)
			page.expect("n", "1")
			if goodbye {
				page.current().send("1")
			} else {
				page.cut()
			}
			receive(t, leaving)
			next := tab(t, "browser").connect(srv)
			next.expect("n", "1")
			close(proceed)
			publishNumbers(t, srv.To("room"), 2, 2)
			next.expect("n", "1", "2")

			reached, letGo := sessions.blockAt("release", 1, false)
			next.cut()
			receive(t, reached)
			third := tab(t, "browser")
			third.dial(srv)
			time.AfterFunc(20*time.Millisecond, letGo)
			publishNumbers(t, srv.To("room"), 3, 3)
			third.expect("n", "1", "2", "3")
		})
	}
}
