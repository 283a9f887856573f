//go:build e2e

package e2e

import "testing"

// TestTwinejsPollingCuts cuts connections of a page that polls again and again, while the network is there. A browser
// then repeats a poll by itself, and the answer to the first one is lost: the server has to notice.
func TestTwinejsPollingCuts(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longReplay...)
	network := startProxy(t, d.host)
	p := startTwinePages(t, d.url()+"/twine.js", network.url())
	p.url += "?polling"
	p.start("a", "r")
	stream := startStream(t, d, "r")
	for range 60 {
		network.cut()
		network.up()
		p.waitFor("a", "r", stream.last()-50)
	}
	stream.stop()
	p.waitFor("a", "r", stream.last())
	p.checkAll("a", "r", 1, stream.last())
	p.checkNoErrors("a")
}
