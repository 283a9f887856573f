//go:build redis

package pubsub

import (
	"testing"

	"github.com/twine-realtime/twine/recovery/redis/redistest"
	"github.com/twine-realtime/twine/twine"
)

// A server with recovery would deliver what it logs to its own clients only: it must not come that far.
func TestNoRecovery(t *testing.T) {
	rdb := redistest.Start(t).Client()
	for _, test := range []struct {
		recovery *twine.Recovery
		fails    bool
	}{
		{nil, false},
		{&twine.Recovery{}, true},
	} {
		srv := twine.NewServer(&twine.Options{Adapter: New(rdb, Options{Logger: quiet()}), Recovery: test.recovery, Logger: quiet()})
		if err := srv.Emit("e"); (err != nil) != test.fails {
			t.Errorf("recovery %v: %v", test.recovery, err)
		}
		if err := srv.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
