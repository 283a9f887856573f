//go:build redis

package zishang520_test

import "testing"

// Redis crashes and loses everything: broadcasts do not hang meanwhile, clients
// are disconnected, and when they are back messages cross again.
func TestRedisCrash(t *testing.T) {
	c := newCluster(t)
	theirs, _ := c.both()
	c.theirs.Emit("before")
	theirs.await(`["before"]`)

	c.redis.Kill()
	for range 10 {
		c.theirs.Emit("lost")
	}
	c.redis.Run()
	eventually(t, "their client is told", func() bool { return closed(theirs.ended) })

	c.meet("/")
	theirs, ours := c.both()
	for event, emit := range map[string]func() error{
		`["theirs"]`: func() error { c.theirs.Emit("theirs"); return nil },
		`["ours"]`:   func() error { return c.ours.Emit("ours") },
	} {
		for _, cl := range []*client{theirs, ours} {
			eventually(t, event, func() bool {
				if err := emit(); err != nil {
					t.Fatal(err)
				}
				return cl.count(event) > 0
			})
		}
	}
}
