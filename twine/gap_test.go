package twine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
	"github.com/twine-realtime/twine/twine"
)

// gap is what "twine:gap" says.
type gap struct{ Room, From, To string }

func (c *stockClient) gaps() (gaps []gap) {
	for _, e := range c.view().seen {
		if e.name != "twine:gap" {
			continue
		}
		var g gap
		if err := json.Unmarshal(e.args[0], &g); err != nil {
			c.t.Error(err)
		}
		gaps = append(gaps, g)
	}
	slices.SortFunc(gaps, func(a, b gap) int { return strings.Compare(a.Room, b.Room) })
	return gaps
}

// expectGaps checks that there is one for each room, from the client's position to where it goes on.
func (c *stockClient) expectGaps(from string, rooms ...string) {
	c.t.Helper()
	eventually(c.t, "gap events", func() bool { return len(c.gaps()) >= len(rooms) })
	var got []string
	for _, g := range c.gaps() {
		got = append(got, g.Room)
		first, err1 := recovery.ParseOffset(g.From)
		last, err2 := recovery.ParseOffset(g.To)
		if err1 != nil || err2 != nil || g.From != from || !last.After(first) {
			c.t.Errorf("gap %+v, want it to begin at %s", g, from)
		}
	}
	if !slices.Equal(got, rooms) {
		c.t.Errorf("gaps in rooms %v, want %v", got, rooms)
	}
}

func TestMoreMissedThanIsReplayed(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		r.MaxReplay = 3
		srv := serveRecovery(t, r)
		c := away(t, srv) // 4 to come
		before := c.view()
		c.connect(srv)
		if v := c.view(); v.recovered || v.sid == before.sid || v.pid == before.pid {
			t.Errorf("recovered %v, id %q, was %q", v.recovered, v.sid, before.sid)
		}
		c.expectGaps(before.offset, "other", "room")
		if got := c.events("n"); len(got) > 1 {
			t.Errorf("part of it was replayed: %v", got)
		}
		// It goes on from where it was told to, with what it joins now.
		sid := c.view().sid
		eventually(t, "the join", func() bool { return len(srv.Of("/").Socket(sid).Rooms()) == 2 })
		publishNumbers(t, srv.To("room"), 6, 6)
		c.expect("n", "1", "6")
		c.cut()
		publishNumbers(t, srv.To("room"), 7, 9)
		c.connect(srv)
		c.expect("n", "1", "6", "7", "8", "9")
		if !c.view().recovered {
			t.Error("not recovered the next time")
		}
	})
}

func TestHistoryIsTrimmed(t *testing.T) {
	hot := memory.NewLog(memory.LogOptions{})
	srv := serveRecovery(t, &twine.Recovery{Hot: hot})
	c := away(t, srv)
	before := c.view()
	if err := hot.Trim(context.Background(), recovery.OffsetAt(time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	c.connect(srv)
	if c.view().recovered {
		t.Error("recovered across a hole")
	}
	c.expectGaps(before.offset, "other", "room")
	if got := c.events("n"); len(got) > 1 {
		t.Errorf("part of it was replayed: %v", got)
	}
}

// The client is cut before it knows that its history is gone. It is told the next time.
func TestCutBeforeTheGapIsTold(t *testing.T) {
	r, sessions, log := gated()
	r.MaxReplay = 3
	srv := serveRecovery(t, r)
	c := away(t, srv)
	before := c.view()
	for _, step := range []struct {
		g  *gate
		op string
	}{{sessions, "claim"}, {log, "read"}, {sessions, "create"}} {
		reached, letGo := step.g.blockAt(step.op, 1, true)
		c.dial(srv)
		receive(t, reached)
		c.cut()
		letGo()
		step.g.up()
		eventually(t, "the socket is gone", func() bool { return len(srv.Of("/").Sockets()) == 0 && srv.Leftovers() == 0 })
		if step.op != "create" && c.view().pid != before.pid {
			t.Fatalf("connected after %s", step.op)
		}
	}
	told := func(room string) bool {
		return slices.ContainsFunc(c.gaps(), func(g gap) bool { return g.Room == room && g.From == before.offset })
	}
	if c.view().pid == before.pid {
		c.connect(srv)
		c.expectGaps(before.offset, "other", "room")
	} else if !told("other") || !told("room") {
		// It has its new session already, and is told of the room that it has joined there.
		c.connect(srv)
		eventually(t, "the gap", func() bool { return told("room") })
	}
}

// What is published while the client is told of a gap is either in what it is told, or comes.
func TestGapEndsWhereTheClientGoesOn(t *testing.T) {
	for range 20 {
		srv := serveRecovery(t, withCookies(&twine.Recovery{MaxReplay: 2}))
		c := newStock(t)
		c.cookie = "browser"
		c.connect(srv)
		sid := c.view().sid
		eventually(t, "the join", func() bool { return len(srv.Of("/").Socket(sid).Rooms()) == 2 })
		publishNumbers(t, srv.To("room"), 1, 1)
		c.expect("n", "1")
		c.cut()
		awaitGone(t, srv, sid)
		publishNumbers(t, srv.To("room"), 2, 5)
		stop := make(chan struct{})
		done := make(chan []recovery.Offset)
		go func() {
			var all []recovery.Offset
			for i := 6; ; i++ {
				p, err := srv.To("room").Publish(context.Background(), "", "n", i)
				if err != nil {
					t.Error(err)
				}
				all = append(all, p.Offset)
				select {
				case <-stop:
					done <- all
					return
				default:
				}
			}
		}()
		c.connect(srv)
		eventually(t, "a gap", func() bool { return len(c.gaps()) == 1 })
		close(stop)
		all := receive(t, done)
		to, err := recovery.ParseOffset(c.gaps()[0].To)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"1"}
		for i, o := range all {
			if o.After(to) {
				want = append(want, fmt.Sprint(6+i))
			}
		}
		c.expect("n", want...)
		c.cut()
	}
}

// A client whose rooms are quiet has an old offset. Others' messages make the history move past it; it misses nothing.
func TestQuietClientStaysRecoverable(t *testing.T) {
	hot := memory.NewLog(memory.LogOptions{})
	srv := serveRecovery(t, &twine.Recovery{Hot: hot}, fastPings)
	c := newStock(t).connect(srv)
	sid := c.view().sid
	eventually(t, "the join", func() bool { return len(srv.Of("/").Socket(sid).Rooms()) == 2 })
	publishNumbers(t, srv.To("room"), 1, 1)
	c.expect("n", "1")
	publishNumbers(t, srv.To("elsewhere"), 1, 20)
	c.awaitPongs()
	if err := hot.Trim(context.Background(), recovery.OffsetAt(time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	c.cut()
	publishNumbers(t, srv.To("room"), 2, 3)
	c.connect(srv)
	c.expect("n", "1", "2", "3")
	if v := c.view(); !v.recovered || v.sid != sid {
		t.Error("not recovered")
	}
}
