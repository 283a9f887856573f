//go:build redis

package zishang520_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/twine-realtime/twine/twine"
)

// What that library's server broadcasts is part of the history: a client of ours
// that was away gets it when it comes back.
func TestRecovery(t *testing.T) {
	c := newClusterWith(t, true)
	c.ours.OnConnect(func(s *twine.Socket) { s.Join("room") })
	theirs, ours := c.both()
	room := socket.Room("room")
	eventually(t, "it is in its room", func() bool {
		s := c.ours.Of("/").Socket(ours.id)
		return s != nil && slices.Contains(s.Rooms(), "room")
	})
	c.theirs.To(room).Emit("e", 0)
	var offset string
	eventually(t, "the first event", func() bool {
		got := ours.got()
		if len(got) == 0 {
			return false
		}
		_, err := fmt.Sscanf(got[0], `["e",0,%q]`, &offset)
		return err == nil
	})
	ours.conn.Close()
	<-ours.ended
	for i := range 3 {
		c.theirs.To(room).Emit("e", i+1)
	}
	c.theirs.To(socket.Room(theirs.id)).Emit("end")
	theirs.await(`["end"]`)
	if err := c.ours.To("room").Emit("e", 4); err != nil {
		t.Fatal(err)
	}

	again := dial(t, c.ourAddr, "/", "", fmt.Sprintf(`{"pid":%q,"offset":%q}`, ours.pid, offset))
	if !again.joined() || again.id != ours.id {
		t.Fatalf("not recovered: id %q, it was %q", again.id, ours.id)
	}
	eventually(t, "what was missed", func() bool { return again.count(`["e",4,`) == 1 })
	for i := range 4 {
		var n int
		if _, err := fmt.Sscanf(again.got()[i], `["e",%d,%q]`, &n, &offset); err != nil || n != i+1 {
			t.Errorf("event %d is %s", i, again.got()[i])
		}
	}
}
