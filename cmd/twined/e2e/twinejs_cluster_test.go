//go:build e2e

package e2e

import (
	"testing"

	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

// TestTwinejsCluster has pages come back to whichever node a balancer chooses, also when one has lost power: their
// positions mean the same everywhere.
func TestTwinejsCluster(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	nodes := startCluster(t, redis, 2, longReplay...)
	doomed := launch(t, t.TempDir(), append([]string{"--redis-url", "redis://" + redis.Addr, "--api-key", clusterKey}, longReplay...)...)
	p := startTwinePages(t, nodes[0].url()+"/twine.js", startHAProxy(t, append(nodes, doomed)))
	for _, tab := range twinejsTransports {
		p.url, _, _ = cutQuery(p.url)
		p.url += "?" + tab
		p.start(tab, "r", "quiet")
	}
	stream := startStubbornStream(t, nodes[0], "r")
	for i := range 4 {
		for _, tab := range twinejsTransports {
			p.waitFor(tab, "r", stream.last()+5)
		}
		if i == 2 {
			doomed.kill()
		}
		for _, tab := range twinejsTransports {
			p.reload(tab)
		}
	}
	p.publish(nodes[1], "quiet", 1)
	for _, tab := range twinejsTransports {
		p.waitFor(tab, "r", stream.last()+5)
	}
	stream.stop()
	for _, tab := range twinejsTransports {
		p.waitFor(tab, "r", stream.last())
		p.waitFor(tab, "quiet", 1)
		p.checkAll(tab, "r", 1, stream.last())
		p.checkAll(tab, "quiet", 1, 1)
		p.checkNoErrors(tab)
	}
}
