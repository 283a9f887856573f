package twine_test

import (
	"errors"
	"testing"

	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
)

// A polling client that is not polling at the moment cannot take anything at once.
func TestVolatileEventsAreDropped(t *testing.T) {
	srv := serve(t, nil)
	c := dialPolling(t, srv)
	c.post("40")
	c.poll()
	s := srv.Of("/").Sockets()[0]
	for _, emit := range []func(string, ...any) error{s.Volatile().Emit, srv.Volatile().Emit} {
		if err := emit("volatile"); err != nil {
			t.Errorf("a dropped event is an error: %v", err)
		}
	}
	if _, err := s.Volatile().EmitWithAck(testContext(t), "volatile"); !errors.Is(err, twine.ErrDropped) {
		t.Errorf("a dropped question: %v", err)
	}
	if _, err := srv.Volatile().EmitWithAck(testContext(t), "volatile"); !errors.Is(err, twine.ErrDisconnected) {
		t.Errorf("a dropped question to all: %v", err)
	}
	if err := s.Emit("durable"); err != nil {
		t.Fatal(err)
	}
	if got := c.poll(); got != `42["durable"]` {
		t.Errorf("polled %q", got)
	}
}

// A client that does not take what is sent to it is cut off. Nobody else notices.
func TestSlowConsumer(t *testing.T) {
	srv := serve(t, &twine.Options{Engine: engineio.Options{MaxQueueBytes: 10_000}})
	onSync(srv)
	reasons := make(chan string, 8)
	srv.OnDisconnect(func(_ *twine.Socket, reason string) { reasons <- reason })
	slow := dialPolling(t, srv)
	slow.post("40")
	slow.poll()
	s := srv.Of("/").Sockets()[0]
	c, _ := connected(t, srv)
	for err := error(nil); err == nil; err = s.Emit("direct", 1) {
		if err := srv.Emit("news", 1); err != nil {
			t.Fatal(err)
		}
		c.expect(`2["news",1]`)
	}
	if got := receive(t, reasons); got != twine.ReasonSlowConsumer {
		t.Errorf("disconnected because of %q", got)
	}
	c.sync()
}
