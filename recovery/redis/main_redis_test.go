//go:build redis

package redislog

import (
	"testing"

	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/twine-realtime/twine/twine/leaktest"
)

func TestMain(m *testing.M) {
	logging.Disable() // servers are killed here
	// The client's own, which notices within a second that it was closed.
	leaktest.Main(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
