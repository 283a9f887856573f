package zishang520_test

import (
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/redis/go-redis/v9/logging"
	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io/v2/socket"
	"go.uber.org/goleak"

	"github.com/twine-realtime/twine/adapter/zishang520"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/twine/leaktest"
)

func TestMain(m *testing.M) {
	logging.Disable()
	leaktest.Main(m,
		// The client's own, which notices within a second that it was closed.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"),
		// Timers of that library, which outlive some of its connections.
		goleak.IgnoreAnyFunction("github.com/zishang520/engine.io/v2/utils.SetTimeout.func1"))
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newServer starts a server of that library, with the bridge, that ends with the test.
func newServer(t testing.TB, stream *redislog.Stream, configure func(*socket.ServerOptions)) (srv *socket.Server, address string) {
	t.Helper()
	opts := socket.DefaultServerOptions()
	opts.SetAdapter(zishang520.New(stream, zishang520.Options{Logger: quiet()}))
	if configure != nil {
		configure(opts)
	}
	srv = socket.NewServer(nil, opts)
	web := httptest.NewServer(srv.ServeHandler(nil))
	t.Cleanup(func() {
		srv.Close(nil)
		web.CloseClientConnections()
		web.Close()
	})
	return srv, web.Listener.Addr().String()
}

func binary(b string) any { return types.NewBytesBufferString(b) }
